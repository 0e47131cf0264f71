//! Tells people. A notification that cannot be sent is on record, and never stops a run.

use liftlock_environment::config::{Notification, Occasion};
use liftlock_environment::{Environment, SecretStore};
use liftlock_gate::Evaluation;
use liftlock_model::{Deployment, DeploymentStatus, Event, Release};
use liftlock_notify::{Message, Sender};
use liftlock_saga::End;

use crate::run::Matter;
use crate::scribe::Scribe;
use crate::site::Site;

pub(crate) async fn begin(site: &Site, scribe: &Scribe, occasion: Occasion, matter: &Matter) {
    let what = match occasion {
        Occasion::RollbackStarted => "rolling back to",
        _ => "promoting",
    };
    let title = format!(
        "{}: {what} {} ({})",
        site.environment.name, matter.release.content.version, matter.release.id
    );
    let text = matter.skipped_canary().map(skipped).unwrap_or_default();
    tell(site, scribe, occasion, title, text, &matter.release).await;
}

fn skipped(reason: String) -> String {
    format!("without canary, all traffic at once: {reason}")
}

pub(crate) async fn waiting(
    site: &Site,
    scribe: &Scribe,
    release: &Release,
    evaluations: &[Evaluation],
) {
    let title = format!("{}: {} waits for an approval", site.environment.name, release.id);
    let text: Vec<_> =
        evaluations.iter().filter_map(|evaluation| evaluation.next.clone()).collect();
    tell(site, scribe, Occasion::ApprovalPending, title, text.join("\n"), release).await;
}

pub(crate) async fn paused(
    site: &Site,
    scribe: &Scribe,
    release: &Release,
    share: u8,
    at_most: Option<String>,
) {
    let environment = &site.environment.name;
    let version = &release.content.version;
    let title = format!(
        "{environment}: {version} ({}) has paused with {share} % of the traffic",
        release.id
    );
    let end = match at_most {
        Some(limit) => format!("it turns back by itself after {limit}"),
        None => "it waits until somebody says how it goes on".into(),
    };
    let text = format!(
        "{end}\nnext: liftlock rollout resume --env {environment}, or liftlock rollout abort --env {environment} --reason TEXT"
    );
    tell(site, scribe, Occasion::Paused, title, text, release).await;
}

pub(crate) async fn end(
    site: &Site,
    scribe: &Scribe,
    matter: &Matter,
    end: &End,
    deployment: &Deployment,
) {
    let (occasion, what) = match deployment.status {
        DeploymentStatus::Succeeded => (Occasion::Promoted, "serves"),
        DeploymentStatus::RolledBack => (Occasion::RolledBack, "failed and was rolled back"),
        DeploymentStatus::Stuck => (Occasion::Stuck, "failed and was NOT fully rolled back"),
    };
    let version = &matter.release.content.version;
    let title = format!("{}: {version} ({}) {what}", site.environment.name, matter.release.id);
    let mut lines: Vec<_> =
        end.failure.iter().map(|failure| format!("{}: {}", failure.step, failure.error)).collect();
    lines.extend(deployment.skipped_canary.clone().map(skipped));
    lines.extend(
        deployment.left.iter().map(|left| format!("left: {}\nnext: {}", left.what, left.command)),
    );
    tell(site, scribe, occasion, title, lines.join("\n"), &matter.release).await;
}

async fn tell(
    site: &Site,
    scribe: &Scribe,
    occasion: Occasion,
    title: String,
    text: String,
    release: &Release,
) {
    let audience = Audience {
        environment: &site.environment,
        secrets: site.secrets.as_ref(),
        scribe,
        release: Some(release),
    };
    audience.tell(occasion, title, text).await;
}

/// Whom an environment tells of what happens in it, and who keeps on record that it did.
#[derive(Clone, Copy)]
pub struct Audience<'a> {
    /// The environment.
    pub environment: &'a Environment,
    /// Where the addresses come from, which are secrets.
    pub secrets: &'a dyn SecretStore,
    /// Who keeps the record.
    pub scribe: &'a Scribe,
    /// Which release it is about, where it is about one.
    pub release: Option<&'a Release>,
}

impl Audience<'_> {
    pub(crate) async fn tell(&self, occasion: Occasion, title: String, text: String) {
        let all = &self.environment.config.notifications;
        let wanted: Vec<_> =
            all.iter().filter(|one| liftlock_notify::wants(one, occasion)).collect();
        if wanted.is_empty() {
            return;
        }
        let environment = self.environment.name.clone();
        let message = Message { occasion, environment, title, text, fields: self.fields() };
        for notification in wanted {
            let Notification::Slack { name, .. } = notification;
            let error = self.send(notification, &message).await.err();
            self.scribe.write(Event::Notified { channel: name.clone(), error }).await.ok();
        }
    }

    fn fields(&self) -> Vec<(String, String)> {
        let release = self.release.into_iter().flat_map(|release| {
            [
                ("release".to_owned(), release.id.to_string()),
                ("commit".to_owned(), release.content.commit.to_string()),
            ]
        });
        let run = [
            ("run".to_owned(), self.scribe.run().to_string()),
            ("by".to_owned(), self.scribe.actor().to_string()),
        ];
        release.chain(run).collect()
    }

    async fn send(&self, notification: &Notification, message: &Message) -> Result<(), String> {
        let Notification::Slack { url, .. } = notification;
        let url = liftlock_environment::secret(url, self.environment.root(), self.secrets)
            .await
            .map_err(|error| error.to_string())?;
        let sender = Sender::new().map_err(|error| error.to_string())?;
        sender.send(notification, &url, message).await.map_err(|error| error.to_string())
    }
}
