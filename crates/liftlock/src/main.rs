//! `liftlock`: see the library's documentation.

fn main() -> std::process::ExitCode {
    liftlock::main("liftlock")
}
