//! `liftlock`, as the tests run it.

fn main() -> std::process::ExitCode {
    liftlock::main("liftlock")
}
