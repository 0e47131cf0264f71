//! The example application, as the tests run it.

fn main() -> std::process::ExitCode {
    liftlock_example_shop::main()
}
