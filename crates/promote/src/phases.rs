//! Which migrations run before a rollout, which after it, and which come back before a rollback. Pure.
//!
//! An *expand* migration is one that the running version can live with: it runs before the rollout. A *contract* migration
//! takes away what only the old version needs: it runs once the release that has it serves alone and has proven itself. If
//! that did not come about (the run was killed, a lock was not to be had), the next promotion catches up, since what serves by
//! then is a release that has it.

use liftlock_model::{MigrationStamp, Phase, Release};
use liftlock_saga::{StepError, StepErrorKind};

/// The newest migration that a release knows; 0 for none.
pub(crate) fn newest(release: &Release) -> i32 {
    release.content.migrations.iter().map(|stamp| stamp.id.version).max().unwrap_or(0)
}

/// How far the schema may go before `release` is rolled out, where `previous` serves and `applied` is the newest migration
/// that the database has.
///
/// # Errors
/// An expand migration comes after a contract migration of a release that never served: in order, which migrations run in,
/// neither can run.
pub(crate) fn before_rollout(
    release: &Release,
    previous: Option<&Release>,
    applied: i32,
) -> Result<i32, StepError> {
    // A new database has no old version.
    if previous.is_none() && applied == 0 {
        return Ok(newest(release));
    }
    let known = previous.map_or(0, newest).max(applied);
    let later = |phase| {
        let later = release.content.migrations.iter();
        later
            .filter(move |stamp: &&MigrationStamp| stamp.id.version > known && stamp.phase == phase)
    };
    let Some(contract) = later(Phase::Contract).min_by_key(|stamp| stamp.id.version) else {
        return Ok(newest(release));
    };
    match later(Phase::Expand).find(|stamp| stamp.id.version > contract.id.version) {
        None => Ok(contract.id.version - 1),
        Some(expand) => Err(StepError::new(
            StepErrorKind::Configuration,
            format!(
                "{} comes after {}, which is `phase contract`: that one runs only once a release that has it serves alone, \
                 and migrations run in order",
                expand.id, contract.id
            ),
        )
        .hint(format!(
            "promote a release whose newest migration is {} first, or give {} the next free number",
            contract.id, contract.id
        ))),
    }
}

/// How far the schema goes back before `release` serves again in place of `serving`: what contract migrations took away comes
/// back first. None if there are none.
///
/// # Errors
/// Between such migrations is one that the version which serves needs: there is no order in which nobody is hurt.
pub(crate) fn before_rollback(
    release: &Release,
    serving: Option<&Release>,
) -> Result<Option<i32>, StepError> {
    let wanted = newest(release);
    let Some(serving) = serving else { return Ok(None) };
    let mut later: Vec<&MigrationStamp> =
        serving.content.migrations.iter().filter(|stamp| stamp.id.version > wanted).collect();
    later.sort_by_key(|stamp| std::cmp::Reverse(stamp.id.version));
    let (back, stay) =
        later.split_at(later.iter().take_while(|stamp| stamp.phase == Phase::Contract).count());
    if let (Some(deep), Some(needed)) =
        (stay.iter().find(|stamp| stamp.phase == Phase::Contract), stay.first())
    {
        return Err(StepError::new(
            StepErrorKind::Configuration,
            format!(
                "{} cannot serve before {} (`phase contract`) is taken back, and {}, which release {} needs while it serves, \
                 would have to go before that",
                release.id, deep.id, needed.id, serving.id
            ),
        )
        .hint("roll back one release at a time, or restore the snapshot"));
    }
    Ok(back.last().map(|stamp| stamp.id.version - 1))
}

/// Why the newer schema cannot be kept.
pub(crate) fn cannot_keep(release: &Release, to: i32) -> StepError {
    StepError::new(
        StepErrorKind::Configuration,
        format!(
            "{} cannot live with the newer schema: what is newer than V{to:04} is `phase contract`, and took away what it needs",
            release.id
        ),
    )
    .hint("run it again without --keep-schema")
}

#[cfg(test)]
mod tests {
    use liftlock_model::{ArtifactHash, MigrationChecksum, MigrationId, ReleaseContent};

    use super::*;

    /// A release whose migrations are `e` (expand) and `c` (contract), in order.
    fn release(phases: &str) -> Release {
        let stamp = |(index, phase): (usize, char)| MigrationStamp {
            id: MigrationId { version: i32::try_from(index + 1).unwrap(), name: "m".into() },
            checksum: MigrationChecksum { up: String::new(), rollback: String::new() },
            phase: if phase == 'c' { Phase::Contract } else { Phase::Expand },
        };
        Release::new(ReleaseContent {
            version: "1".into(),
            commit: "0123456789".repeat(4).parse().unwrap(),
            branch: None,
            subject: None,
            pull_request: None,
            images: [].into(),
            migrations: phases.chars().enumerate().map(stamp).collect(),
            migrations_archive: ArtifactHash::of(b""),
            infrastructure_archive: ArtifactHash::of(b""),
        })
    }

    /// Shows E-MIG-1.
    #[test]
    fn contract_migrations_wait_until_a_release_that_has_them_serves() {
        let before = |new: &str, old: Option<&str>, applied| {
            before_rollout(&release(new), old.map(release).as_ref(), applied)
                .map_err(|error| error.to_string())
        };
        assert_eq!(before("eecc", Some("ee"), 2), Ok(2));
        assert_eq!(before("eeec", Some("ee"), 2), Ok(3));
        // Nothing serves, and there is no schema: there is no old version.
        assert_eq!(before("eec", None, 0), Ok(3));
        // Something that is not known may be running.
        assert_eq!(before("eec", None, 2), Ok(2));
        // What serves has it: it was not applied when it should have been.
        assert_eq!(before("eecee", Some("eec"), 2), Ok(5));
        // It is applied already.
        assert_eq!(before("eece", Some("ee"), 3), Ok(4));
        let refused = before("eece", Some("ee"), 2).unwrap_err();
        assert!(refused.contains("V0004__m comes after V0003__m"), "{refused}");
    }

    #[test]
    fn a_release_that_begins_with_a_squash_goes_where_all_of_it_is() {
        let old = release("eee");
        let mut squashed = release("eeee");
        squashed.content.migrations.drain(..2);
        squashed.content.migrations[0].id.name = "squash".into();
        let before = |previous, applied| before_rollout(&squashed, previous, applied).ok();
        assert_eq!(before(Some(&old), 3), Some(4));
        assert_eq!(before(None, 0), Some(4));
        assert_eq!(before_rollback(&old, Some(&squashed)).ok(), Some(None));
    }

    #[test]
    fn contract_migrations_come_back_before_an_older_release_serves() {
        let back = |old: &str, serving: &str| {
            before_rollback(&release(old), Some(&release(serving)))
                .map_err(|error| error.to_string())
        };
        assert_eq!(back("e", "ee"), Ok(None));
        assert_eq!(back("e", "eecc"), Ok(Some(2)));
        assert_eq!(back("eec", "eece"), Ok(None));
        assert_eq!(back("ee", "ee"), Ok(None));
        let refused = back("e", "ececc").unwrap_err();
        assert!(refused.contains("V0002__m (`phase contract`)"), "{refused}");
        assert_eq!(before_rollback(&release("e"), None).ok(), Some(None));
    }
}
