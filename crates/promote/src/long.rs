//! Migrations that take long: people are told while they still run, and the ledger keeps it.

use liftlock_environment::config::Occasion;
use liftlock_migrate::Progress;
use liftlock_model::Event;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::announce::Audience;

/// Hears what migrations tell, and passes on what people must know at once. None of it waits for an answer.
#[derive(Debug, Clone)]
pub struct Alarm(UnboundedSender<Long>);

/// What is told of a migration that takes long.
#[derive(Debug)]
struct Long {
    event: Event,
    text: String,
}

impl Alarm {
    /// Hears what happens; in which database, where there are many.
    pub fn hear(&self, database: Option<&str>, progress: &Progress) {
        let Progress::Long { id, seconds, blocked_by, .. } = progress else { return };
        let event = Event::MigrationLong {
            id: id.clone(),
            database: database.map(str::to_owned),
            seconds: *seconds,
            blocked_by: blocked_by.iter().map(ToString::to_string).collect(),
        };
        // Whoever listened is gone only once the work is over.
        self.0.send(Long { event, text: progress.to_string() }).ok();
    }
}

/// Does `work` and meanwhile tells people of each migration that its [`Alarm`] hears to take long.
pub async fn watched<T, F: Future<Output = T>>(
    audience: Audience<'_>,
    work: impl FnOnce(Alarm) -> F,
) -> T {
    let (sender, receiver) = unbounded_channel();
    let (done, ()) = tokio::join!(work(Alarm(sender)), listen(&audience, receiver));
    done
}

async fn listen(audience: &Audience<'_>, mut receiver: UnboundedReceiver<Long>) {
    while let Some(Long { event, text }) = receiver.recv().await {
        let Event::MigrationLong { id, database, .. } = &event else { continue };
        let place = database.as_ref().map(|name| format!(" in {name}")).unwrap_or_default();
        let title = format!(
            "{}: migration {id}{place} takes long and is still running",
            audience.environment.name
        );
        // A ledger that cannot be written does not keep people from knowing.
        audience.scribe.write(event).await.ok();
        audience.tell(Occasion::MigrationLong, title, text).await;
    }
}
