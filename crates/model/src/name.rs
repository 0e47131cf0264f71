//! Names that people give: environments, services, steps and actors.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a valid {what}: use 1 to {max} lower-case letters, digits and single hyphens, \
     starting with a letter and not ending with a hyphen"
)]
pub struct NameError {
    what: &'static str,
    text: String,
    max: usize,
}

/// AWS limits target group and load balancer names to 32 characters, and these names are parts of those.
fn check(what: &'static str, text: &str, max: usize) -> Result<(), NameError> {
    let fine = (1..=max).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && !text.contains("--")
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if fine { Ok(()) } else { Err(NameError { what, text: text.to_owned(), max }) }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal, $pattern:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String", extend("pattern" = $pattern, "maxLength" = $max))]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                check($what, text, $max).map(|()| Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                check($what, &text, $max).map(|()| Self(text))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// The name of an environment, such as `local`, `dev` or `prod`.
    ///
    /// ```compile_fail
    /// use liftlock_model::{EnvName, ServiceName};
    /// fn deploy_to(environment: &EnvName) {}
    /// let service: ServiceName = "backend".parse().unwrap();
    /// deploy_to(&service); // a service is not an environment
    /// ```
    EnvName, "environment name", 16, "^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
}

name! {
    /// The name of a service of the application, such as `backend`.
    ServiceName, "service name", 16, "^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
}

name! {
    /// The name of the application, the first part of every resource's name.
    ApplicationName, "application name", 16, "^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
}

/// The name of a step of a run, such as `rollout/backend/shift-50`; unique within its run, and stable across versions
/// of Liftlock, since a resumed run finds its steps by it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepName(String);

impl StepName {
    /// A step's name. Steps are named by code, so any text is taken.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Who did something: a person or a system, as the machine knows it (`LIFTLOCK_ACTOR`, `GITHUB_ACTOR` or the user's
/// login name). Control characters are replaced, since the text is printed on terminals and in logs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Actor(String);

impl Actor {
    /// An actor by name.
    pub fn new(text: &str) -> Self {
        Self(text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["dev", "prod-eu", "a", "a1-b2"] {
            assert!(good.parse::<EnvName>().is_ok(), "{good}");
        }
        for bad in
            ["", "Dev", "1dev", "-dev", "dev-", "a--b", "dev/..", "dév", "a-very-long-name-indeed"]
        {
            assert!(bad.parse::<EnvName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn actors_cannot_move_the_cursor() {
        assert_eq!(Actor::new("eve\u{1b}[2J").as_str(), "eve\u{fffd}[2J");
    }
}
