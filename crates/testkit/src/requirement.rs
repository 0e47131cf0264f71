//! Parts of the machine that some tests need: what happens when one is not there.

use std::fmt::{self, Display};

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
}

impl Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Postgres => "postgres",
            Self::Terraform => "terraform",
            Self::Moto => "moto",
            Self::PgBouncer => "pgbouncer",
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
