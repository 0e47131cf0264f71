//! Parts of the machine that some tests need: what happens when one is not there.

use std::fmt::{self, Display};
use std::path::Path;

use liftlock_postgres::Programs;

/// The variable that lists, with commas, the parts that must be there: `LIFTLOCK_REQUIRE=postgres,terraform,moto`. A
/// test whose part is missing then fails; else it is skipped with a note, so that the other tests can be run on any machine.
pub const VARIABLE: &str = "LIFTLOCK_REQUIRE";

/// A part of the machine that a test needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirement {
    /// PostgreSQL's programs.
    Postgres,
    /// Terraform with the AWS provider.
    Terraform,
    /// moto's server and the `aws` client.
    Moto,
    /// PgBouncer.
    PgBouncer,
    /// The load generator oha.
    Oha,
}

impl Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Postgres => "postgres",
            Self::Terraform => "terraform",
            Self::Moto => "moto",
            Self::PgBouncer => "pgbouncer",
            Self::Oha => "oha",
        })
    }
}

/// What was found, or none after a note on standard error that the test is skipped.
///
/// # Panics
/// If the part is missing and [`VARIABLE`] names it.
pub fn met<T, E: Display>(requirement: Requirement, found: Result<T, E>) -> Option<T> {
    let required = std::env::var(VARIABLE).unwrap_or_default();
    match found {
        Ok(found) => Some(found),
        Err(error) if names(&required, requirement) => {
            panic!("{VARIABLE} names {requirement}, which is missing: {error}")
        }
        Err(error) => {
            note(&format!("skipped, since {requirement} is missing: {error}"));
            None
        }
    }
}

/// PostgreSQL's programs, or none if the test is to be skipped.
///
/// # Panics
/// If they are missing and [`VARIABLE`] names `postgres`.
pub fn postgres() -> Option<Programs> {
    met(Requirement::Postgres, Programs::find())
}

/// A `PATH` that holds the load generator oha, which may be where `.ci/run` puts it; or none if the test is to be skipped.
///
/// # Panics
/// If it is missing and [`VARIABLE`] names `oha`.
pub fn oha() -> Option<String> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/bin");
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{path}:{}", tools.display());
    let found = path.split(':').any(|directory| Path::new(directory).join("oha").is_file());
    met(Requirement::Oha, found.then_some(path).ok_or("it is neither in PATH nor in target/tools"))
}

fn names(required: &str, requirement: Requirement) -> bool {
    let requirement = requirement.to_string();
    required.split(',').any(|word| word.trim() == requirement)
}

#[expect(clippy::print_stderr, reason = "a test's note to the person who runs it")]
fn note(text: &str) {
    eprintln!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read_with_spaces_and_without() {
        assert!(names("terraform, postgres", Requirement::Postgres));
        assert!(!names("terraform,postgresql", Requirement::Postgres));
        assert!(!names("", Requirement::Moto));
    }

    #[test]
    fn what_is_there_is_handed_on() {
        assert_eq!(met(Requirement::Moto, Ok::<_, String>(7)), Some(7));
    }
}
