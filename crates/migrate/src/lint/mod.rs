//! What is wrong with migrations, as far as their texts tell: squawk's rules without those that cry wolf, and ours. Pure.

mod alter_table;
mod draft;
mod facts;
mod known;
mod names;
mod own;
mod rules;
mod running;
mod script;
mod settings;
mod show;
mod squawk;
mod world;

use serde::Serialize;

pub use draft::Allowed;
pub use known::Known;
pub use rules::Level;
pub(crate) use rules::{covers, seen_by_trial, seen_in_rollback};
pub use settings::LintSettings;

pub(crate) use self::draft::unused_allow_of;
use self::draft::{Draft, settle};
use self::rules::CONTRACT_FIRST;
use self::script::{Looked, Reader};
use self::world::World;
use crate::files::{Migration, Migrations, Script};
use crate::finding::{Finding, Severity};
use liftlock_model::{Exit, Phase};

/// What is found in migrations.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Lint {
    /// What is to be told, by file and place.
    pub findings: Vec<Finding>,
    /// What comments in the scripts allow, with the reasons.
    pub allowed: Vec<Allowed>,
    /// How many migrations were looked at.
    pub migrations: usize,
}

impl Lint {
    /// How many findings are of this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// The exit code that a command ends with: 1 if there is something to mend. `strict`: warnings must be mended, too.
    pub fn exit(&self, strict: bool) -> Exit {
        let bad = self.count(Severity::Error) > 0 || (strict && self.count(Severity::Warning) > 0);
        if bad { Exit::Failed } else { Exit::Done }
    }

    fn add(&mut self, script: &Script, drafts: Vec<Draft>, settings: &LintSettings) {
        let (mut findings, mut allowed) = settle(script, drafts, settings);
        findings.sort_by_key(|finding| (finding.line, finding.column));
        self.findings.append(&mut findings);
        self.allowed.append(&mut allowed);
    }
}

/// Looks at the migrations that are not applied: up, rollback and verify scripts. Those that are applied are read for what they
/// made.
pub fn lint(migrations: &Migrations, known: &Known, settings: &LintSettings) -> Lint {
    let look = || look(migrations, known, settings);
    // The parser goes as deep as a text nests.
    let deep = std::thread::Builder::new().stack_size(STACK);
    std::thread::scope(|scope| match deep.spawn_scoped(scope, look) {
        Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        Err(_) => look(),
    })
}

/// Bytes that are reserved, and used only as far as a text nests.
const STACK: usize = 512 << 20;

fn look(migrations: &Migrations, known: &Known, settings: &LintSettings) -> Lint {
    let mut lint = Lint::default();
    let mut world = World::default();
    let mut contract: Option<&Migration> = None;
    for migration in migrations.all() {
        let version = migration.id.version;
        let pending = known.applied.is_none_or(|applied| version > applied);
        if !pending || known.applied.is_none() {
            world.settle();
        }
        let ignored = settings.ignore_before.is_some_and(|first| version < first);
        let reader = Reader { known, settings, phase: migration.phase() };
        // A squash was made of what was looked at, and is new on any database that it runs on.
        let wanted = pending && !ignored && migration.seals().is_empty();
        let mut up = reader.up(&migration.up, &mut world, wanted);
        if !pending {
            world.settle();
        }
        if !wanted {
            continue;
        }
        lint.migrations += 1;
        if known.applied.is_some() {
            up.drafts.extend(out_of_phase(migration, contract));
            contract = contract.or(Some(migration)).filter(|it| it.phase() == Phase::Contract);
        }
        let Looked { drafts, facts } = up;
        lint.add(&migration.up, drafts, settings);
        lint.add(
            &migration.rollback,
            reader.rollback(&migration.rollback, &facts, &world),
            settings,
        );
        if let Some(verify) = &migration.verify {
            lint.add(verify, reader.verify(verify, &world), settings);
        }
    }
    lint
}

/// A migration that is to run before the rollout, after one that runs after it.
fn out_of_phase(migration: &Migration, contract: Option<&Migration>) -> Option<Draft> {
    let contract = contract.filter(|_| migration.phase() == Phase::Expand)?;
    let at = migration.up.statements.first()?.range.start;
    let message = format!(
        "this runs before the rollout, and {} before it has `phase contract`, which runs after: in the order of their numbers \
         they cannot",
        contract.id
    );
    let help = "give the contract migration the higher number";
    Some(Draft::new(CONTRACT_FIRST, at, message).help(help))
}
