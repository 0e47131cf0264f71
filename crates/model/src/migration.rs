//! Migrations by number.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text is not a migration's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a migration: expected its number, such as `V0041`, `V0041__add_orders` or `41`"
)]
pub struct MigrationIdError {
    text: String,
}

/// A migration: its number (from `V0041__add_orders.sql`: 41) and its name (`add_orders`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MigrationId {
    /// The number that orders it. refinery keeps it in a 32-bit column.
    pub version: i32,
    /// The name after the two underscores.
    pub name: String,
}

impl MigrationId {
    /// Reads the number out of `V0041`, `V0041__name` or `41`.
    pub fn parse_version(text: &str) -> Result<i32, MigrationIdError> {
        let number = text.strip_prefix(['V', 'v']).unwrap_or(text);
        let number = number.split_once("__").map_or(number, |(number, _)| number);
        number
            .parse::<i32>()
            .ok()
            .filter(|version| *version >= 0)
            .ok_or_else(|| MigrationIdError { text: text.to_owned() })
    }
}

impl fmt::Display for MigrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "V{:04}__{}", self.version, self.name)
    }
}

/// The SHA-256 of a migration's script and of its rollback script, as hexadecimal text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MigrationChecksum {
    /// Of `V…__….sql`.
    pub up: String,
    /// Of `V…__….rollback.sql`.
    pub rollback: String,
}

/// When a migration runs: before the new version is rolled out, or after it has proven itself.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Before the rollout: the version that is running must be able to live with it.
    #[default]
    Expand,
    /// After the rollout and its bake: it may take away what only the old version needs.
    Contract,
}

impl Phase {
    fn is_expand(&self) -> bool {
        *self == Self::Expand
    }
}

/// A migration as a release holds it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MigrationStamp {
    /// Which migration.
    pub id: MigrationId,
    /// What it held when the release was made.
    pub checksum: MigrationChecksum,
    /// When it runs. Left out where it is `expand`, so that releases from before there were phases keep their ids.
    #[serde(default, skip_serializing_if = "Phase::is_expand")]
    pub phase: Phase,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_people_write_them() {
        for text in ["V0041", "v41", "41", "V0041__add_orders"] {
            assert_eq!(MigrationId::parse_version(text), Ok(41), "{text}");
        }
        for text in ["", "V", "-1", "V-1", "x41", "V99999999999"] {
            assert!(MigrationId::parse_version(text).is_err(), "{text}");
        }
    }
}
