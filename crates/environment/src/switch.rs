//! The dead-man's switch of a rollout.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Period;
use crate::check::Checks;
use crate::config::{Config, Engine};

/// What gives users the old version back when the promotion that is replacing it is gone: a schedule of EventBridge for each service,
/// armed before the first user meets the new version, put off while the promotion lives, and taken away at its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Switch {
    /// How long nothing may be heard from the promotion. EventBridge itself may take up to a minute more.
    pub after: Period,
    /// The name of the IAM role that the schedules take, with its path if it has one. Left out: `<application>-<environment>-switch`.
    #[schemars(regex(pattern = r"^[A-Za-z0-9+=,.@_/-]{1,128}$"))]
    pub role: Option<String>,
}

impl Default for Switch {
    fn default() -> Self {
        Self { after: Period::from_secs(120), role: None }
    }
}

/// EventBridge goes by the minute, the stage by the second.
pub(crate) fn check(config: &Config, checks: &mut Checks<'_>) {
    let (least, text) = match config.infrastructure.engine {
        Engine::Stage => (Duration::from_secs(1), "1s"),
        Engine::Terraform | Engine::Tofu => (Duration::from_secs(60), "1m"),
    };
    if config.switch.after.duration() < least {
        let help = format!(
            "allowed: `{text}` or more; it is put off four times as often, and must not fire while the promotion lives"
        );
        checks.value(&["switch", "after"], "the dead-man's switch would fire too soon", help);
    }
}
