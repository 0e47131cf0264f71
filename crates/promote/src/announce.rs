//! Tells people. A notification that cannot be sent is on record, and never stops a run.

use liftlock_environment::config::{Notification, Occasion};
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
    tell(site, scribe, occasion, title, String::new(), &matter.release).await;
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
    let wanted: Vec<_> = site
        .environment
        .config
        .notifications
        .iter()
        .filter(|notification| liftlock_notify::wants(notification, occasion))
        .collect();
    if wanted.is_empty() {
        return;
    }
    let message = Message {
        occasion,
        environment: site.environment.name.clone(),
        title,
        text,
        fields: vec![
            ("release".into(), release.id.to_string()),
            ("commit".into(), release.content.commit.to_string()),
            ("run".into(), scribe.run().to_string()),
            ("by".into(), scribe.actor().to_string()),
        ],
    };
    for notification in wanted {
        let Notification::Slack { name, .. } = notification;
        let error = send(site, notification, &message).await.err();
        scribe.write(Event::Notified { channel: name.clone(), error }).await.ok();
    }
}

async fn send(site: &Site, notification: &Notification, message: &Message) -> Result<(), String> {
    let Notification::Slack { url, .. } = notification;
    let url = liftlock_environment::secret(url, site.environment.root(), site.secrets.as_ref())
        .await
        .map_err(|error| error.to_string())?;
    let sender = Sender::new().map_err(|error| error.to_string())?;
    sender.send(notification, &url, message).await.map_err(|error| error.to_string())
}
