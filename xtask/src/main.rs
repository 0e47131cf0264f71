//! `cargo xtask X` is `liftlock X`.

fn main() -> std::process::ExitCode {
    liftlock::main("cargo xtask")
}
