//! `infra plan` today, `infra apply` tomorrow: a saved plan, and its application as a recorded run.

use std::io::Write;
use std::path::Path;

use liftlock_model::{
    Event, Fingerprint, Outcome, Record, Reversal, RunId, RunKind, StepName, StepPlan,
};
use liftlock_saga::{StepError, StepErrorKind};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::archive::{self, Files};
use crate::error::PromoteError;
use crate::hold::Hold;
use crate::infrastructure::{Infrastructure, InfrastructurePlan};
use crate::report::Report;
use crate::scribe::Scribe;
use crate::site::Site;
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

/// Applies infrastructure alone, on record, and never while a run holds the environment.
pub struct InfrastructureRun<'a> {
    /// The environment.
    pub site: &'a Site,
    /// Who hears of it.
    pub report: &'a Report,
    /// Cancelled to ask it to stop.
    pub cancel: &'a CancellationToken,
}

impl InfrastructureRun<'_> {
    /// Applies exactly the saved plan, or refuses. `overrides` are the addresses that may be destroyed by a person's word:
    /// they go on record.
    ///
    /// # Errors
    /// Another run holds the environment or was interrupted there; what was planned does not hold any longer; or the
    /// plan was applied in part ([`PromoteError::HalfApplied`]).
    pub async fn apply(
        &self,
        maker: &dyn Infrastructure,
        saved: &SavedInfrastructure,
        overrides: &[String],
    ) -> Result<String, PromoteError> {
        let run = RunId::generate();
        let hold = Hold::between_runs(&self.site.place(), &run).await?;
        let result = self.held(&hold, run, maker, saved, overrides).await;
        hold.give_back().await;
        result
    }

    async fn held(
        &self,
        hold: &Hold,
        run: RunId,
        maker: &dyn Infrastructure,
        saved: &SavedInfrastructure,
        overrides: &[String],
    ) -> Result<String, PromoteError> {
        let Site { environment, ledger, actor, .. } = self.site;
        let environment = &environment.name;
        let scribe = Scribe::new(
            ledger.clone(),
            environment.clone(),
            run,
            actor.clone(),
            Some(hold.fence()),
            self.report.clone(),
        );
        self.recorded(&scribe, maker, saved, overrides).await.map_err(|error| match error.kind() {
            StepErrorKind::Authentication | StepErrorKind::Configuration => {
                PromoteError::Preflight(error)
            }
            StepErrorKind::Failed | StepErrorKind::Cancelled => {
                PromoteError::HalfApplied { environment: environment.clone(), error }
            }
        })
    }

    async fn recorded(
        &self,
        scribe: &Scribe,
        maker: &dyn Infrastructure,
        saved: &SavedInfrastructure,
        overrides: &[String],
    ) -> Result<String, StepError> {
        let files = saved.bundle();
        // What fails before the plan is applied has touched nothing.
        let before = StepErrorKind::Configuration;
        let packed = archive::pack(&files).map_err(|error| StepError::of_kind(before, &error))?;
        let bundle = self
            .site
            .ledger
            .put_artifact(&packed)
            .await
            .map_err(|error| StepError::of_kind(before, &error))?;
        let step = StepName::new(APPLY);
        let plan = StepPlan {
            step: step.clone(),
            does: format!("{}: apply the saved plan", maker.maker()),
            details: saved.plan.details.clone(),
            reversal: Reversal::Irreversible(
                "applied by hand; go back by planning the code that was there before".into(),
            ),
        };
        let write = async |event: Event, kind| {
            scribe.write(event).await.map(|_| ()).map_err(|error| StepError::of_kind(kind, &error))
        };
        let record = |record: Record| Event::Journal { record };
        let options = overrides.iter().map(|address| format!("allow={address}")).collect();
        let started = Event::RunStarted {
            kind: RunKind::Infrastructure,
            release: None,
            reason: None,
            options,
        };
        write(started, before).await?;
        let fingerprint = Fingerprint::of(&(&saved.plan, &bundle));
        write(record(Record::Planned { fingerprint, steps: vec![plan] }), before).await?;
        let intended = Record::Intended { step: step.clone(), before: serde_json::Value::Null };
        write(record(intended), before).await?;
        let report = self.report.clone();
        let name = step.clone();
        let life = move |text: &str| {
            report(crate::Notice::Life { step: name.clone(), text: text.to_owned() })
        };
        let result = maker.apply(&files, &saved.plan, &life, self.cancel).await;
        let (outcome, ended) = match &result {
            Ok(note) => {
                let output =
                    serde_json::to_value(&bundle).map_err(|error| StepError::from_error(&error))?;
                (Outcome::Succeeded, Record::Done { step, output, note: note.clone() })
            }
            Err(error) => {
                let outcome = match error.kind() {
                    StepErrorKind::Authentication | StepErrorKind::Configuration => {
                        Outcome::RolledBack
                    }
                    StepErrorKind::Failed | StepErrorKind::Cancelled => Outcome::Stuck,
                };
                (outcome, Record::Failed { step, error: error.to_string() })
            }
        };
        write(record(ended), StepErrorKind::Failed).await?;
        write(record(Record::Finished { outcome, left: vec![] }), StepErrorKind::Failed).await?;
        result
    }
}
