//! The shop: see the library's documentation.

fn main() -> std::process::ExitCode {
    liftlock_example_shop::main()
}
