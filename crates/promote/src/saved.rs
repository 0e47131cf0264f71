//! `infra plan` today, `infra apply` tomorrow: a saved plan, and its application as a recorded run.

use std::io::Write;
use std::path::Path;

use liftlock_ledger::Ledger;
use liftlock_model::{
    Actor, EnvName, Event, Fingerprint, Outcome, Record, Reversal, RunId, RunKind, StepName,
    StepPlan,
};
use liftlock_saga::{StepError, StepErrorKind};
use serde::{Deserialize, Serialize};

use crate::archive::{self, Files};
use crate::infrastructure::{Infrastructure, InfrastructurePlan};
use crate::report::Report;
use crate::scribe::Scribe;
use crate::steps::infrastructure::APPLY;

/// A plan and the files that it was made from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SavedInfrastructure {
    /// The plan.
    pub plan: InfrastructurePlan,
    files: Vec<(std::path::PathBuf, String)>,
}

impl SavedInfrastructure {
    /// Saves a plan in a file that only its owner can read.
    pub fn write(path: &Path, files: &Files, plan: &InfrastructurePlan) -> Result<(), StepError> {
        use std::os::unix::fs::OpenOptionsExt;
        let files = files
            .iter()
            .map(|(path, content)| (path.clone(), String::from_utf8_lossy(content).into_owned()))
            .collect();
        let saved = Self { plan: plan.clone(), files };
        let text = serde_json::to_vec(&saved).map_err(|error| StepError::from_error(&error))?;
        let failed = |error: std::io::Error| {
            StepError::new(StepErrorKind::Configuration, format!("{}: {error}", path.display()))
        };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        let mut options = std::fs::OpenOptions::new();
        let mut file = options
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        file.write_all(&text).map_err(failed)
    }

    /// Reads a saved plan.
    pub fn read(path: &Path) -> Result<Self, StepError> {
        let text = std::fs::read(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => StepError::new(
                StepErrorKind::Configuration,
                "there is no saved plan of this environment",
            ),
            _ => {
                StepError::new(StepErrorKind::Configuration, format!("{}: {error}", path.display()))
            }
        })?;
        serde_json::from_slice(&text).map_err(|error| {
            let message = format!("{} is no saved plan: {error}", path.display());
            StepError::new(StepErrorKind::Configuration, message)
        })
    }

    /// The files that the plan was made from.
    fn bundle(&self) -> Files {
        self.files
            .iter()
            .map(|(path, content)| (path.clone(), content.clone().into_bytes()))
            .collect()
    }
}

/// Applies infrastructure alone, on record.
pub struct InfrastructureRun<'a> {
    /// Where it is recorded.
    pub ledger: &'a Ledger,
    /// The environment.
    pub environment: &'a EnvName,
    /// Who applies.
    pub actor: &'a Actor,
    /// Who hears of it.
    pub report: &'a Report,
}

impl InfrastructureRun<'_> {
    /// Applies exactly the saved plan, or refuses. `overrides` are the addresses that may be destroyed by a person's word:
    /// they go on record.
    pub async fn apply(
        &self,
        maker: &dyn Infrastructure,
        saved: &SavedInfrastructure,
        overrides: &[String],
    ) -> Result<String, StepError> {
        let run = RunId::generate();
        let lease = self
            .ledger
            .acquire(self.environment, &run, self.actor, std::time::Duration::from_secs(30))
            .await
            .map_err(|error| StepError::from_error(&error))?;
        let heart = liftlock_ledger::Heart::start(self.ledger, lease.clone());
        let scribe = Scribe::new(
            self.ledger.clone(),
            self.environment.clone(),
            run,
            self.actor.clone(),
            Some(lease.fence()),
            self.report.clone(),
        );
        let result = self.recorded(&scribe, maker, saved, overrides).await;
        heart.stop().await;
        // A lease that cannot be given back expires by itself.
        self.ledger.release(&lease).await.ok();
        result
    }

    async fn recorded(
        &self,
        scribe: &Scribe,
        maker: &dyn Infrastructure,
        saved: &SavedInfrastructure,
        overrides: &[String],
    ) -> Result<String, StepError> {
        let files = saved.bundle();
        let packed = archive::pack(&files).map_err(|error| StepError::from_error(&error))?;
        let bundle = self
            .ledger
            .put_artifact(&packed)
            .await
            .map_err(|error| StepError::from_error(&error))?;
        let step = StepName::new(APPLY);
        let plan = StepPlan {
            step: step.clone(),
            does: format!("{}: apply the saved plan", maker.maker()),
            details: saved.plan.details.clone(),
            reversal: Reversal::Irreversible(
                "applied by hand; go back by planning the code that was there before".into(),
            ),
        };
        let write = async |event: Event| {
            scribe.write(event).await.map(|_| ()).map_err(|error| StepError::from_error(&error))
        };
        let record = |record: Record| Event::Journal { record };
        let options = overrides.iter().map(|address| format!("allow={address}")).collect();
        write(Event::RunStarted {
            kind: RunKind::Infrastructure,
            release: None,
            reason: None,
            options,
        })
        .await?;
        let fingerprint = Fingerprint::of(&(&saved.plan, &bundle));
        write(record(Record::Planned { fingerprint, steps: vec![plan] })).await?;
        write(record(Record::Intended { step: step.clone(), before: serde_json::Value::Null }))
            .await?;
        let report = self.report.clone();
        let name = step.clone();
        let life = move |text: &str| {
            report(crate::Notice::Life { step: name.clone(), text: text.to_owned() })
        };
        let result = maker.apply(&files, &saved.plan, &life).await;
        let (outcome, ended) = match &result {
            Ok(note) => {
                let output =
                    serde_json::to_value(&bundle).map_err(|error| StepError::from_error(&error))?;
                (Outcome::Succeeded, Record::Done { step, output, note: note.clone() })
            }
            Err(error) => (Outcome::Stuck, Record::Failed { step, error: error.to_string() }),
        };
        write(record(ended)).await?;
        write(record(Record::Finished { outcome, left: vec![] })).await?;
        result
    }
}
