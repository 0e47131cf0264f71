//! What people are told.

use liftlock_environment::config::{Notification, Occasion};
use liftlock_model::EnvName;

/// What people are told. All of it is plain text: what a channel would read as markup or as a mention is escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What about.
    pub occasion: Occasion,
    /// Where.
    pub environment: EnvName,
    /// In one line.
    pub title: String,
    /// More, in a few lines; may be empty.
    pub text: String,
    /// Facts by name: release, actor, duration. The first 30 are sent.
    pub fields: Vec<(String, String)>,
}

/// Whether a channel is to be told of such an occasion. A channel that names none is told of all.
pub fn wants(notification: &Notification, occasion: Occasion) -> bool {
    let Notification::Slack { on, .. } = notification;
    on.is_empty() || on.contains(&occasion)
}
