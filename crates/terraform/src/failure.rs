//! What terraform's own errors mean, and what to do next.

use std::time::Duration;

use liftlock_model::Exit;

use crate::process::{Finished, Unfinished};

/// What kind of failure it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Somebody else holds the state's lock.
    Locked {
        /// The lock's id.
        id: String,
        /// Who holds it.
        who: String,
        /// Since when.
        since: String,
    },
    /// No credentials, wrong ones, or ones that may not do this.
    Authentication,
    /// The provider could not be had.
    ProviderMissing,
    /// The place of the state does not exist.
    BackendMissing,
    /// A server did not answer.
    Unreachable,
    /// The saved plan is no longer what would be done.
    Stale,
    /// It took too long and was ended.
    Timeout(Duration),
    /// It was asked to end.
    Interrupted,
    /// The program could not be started.
    Start,
    /// Something else; the lines say what.
    Other,
}

/// A command of terraform that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("`{tool} {command}` for environment {environment} failed: {}{}", cause.words(command), shown(.said))]
pub struct CommandError {
    /// Which command.
    pub command: &'static str,
    /// terraform or tofu.
    pub tool: String,
    /// For which environment.
    pub environment: String,
    /// Why, as far as its words are known.
    pub cause: Cause,
    /// What it said: its errors, or its last lines. No control characters.
    pub said: Vec<String>,
}

impl CommandError {
    /// How a command that this ends should exit, if nothing was changed before.
    pub fn exit(&self) -> Exit {
        match &self.cause {
            Cause::Authentication => Exit::Authentication,
            Cause::Locked { .. } => Exit::Held,
            Cause::BackendMissing | Cause::ProviderMissing | Cause::Start => Exit::Usage,
            _ => Exit::Failed,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> String {
        let environment = &self.environment;
        match &self.cause {
            Cause::Locked { id, .. } => format!(
                "wait until the other run has ended; if it is certain that none runs, `terraform force-unlock {id}` in the root module, initialised for {environment}"
            ),
            Cause::Authentication => format!("sign in to the account that environments/{environment}.toml names (`aws sts get-caller-identity` says who you are)"),
            Cause::ProviderMissing => "let terraform reach registry.terraform.io, or name a filesystem mirror in its CLI configuration file (TF_CLI_CONFIG_FILE)".to_owned(),
            Cause::BackendMissing => format!("make the bucket that [infrastructure.backend] in environments/{environment}.toml names"),
            Cause::Unreachable => format!("check the network, and `aws.endpoint` in environments/{environment}.toml if it is set"),
            Cause::Stale | Cause::Timeout(_) | Cause::Interrupted => format!("look at what is left to do: `liftlock infra plan --env {environment}`"),
            Cause::Start => format!("check {} and the directory that it runs in", self.tool),
            Cause::Other => format!("mend what it names, then `liftlock infra plan --env {environment}`"),
        }
    }

    pub(crate) fn ended(
        command: &'static str,
        tool: &str,
        environment: &str,
        finished: &Finished,
    ) -> Self {
        let text = finished.tail.join("\n");
        Self {
            command,
            tool: tool.to_owned(),
            environment: environment.to_owned(),
            cause: Cause::read(&text),
            said: errors_of(&finished.tail),
        }
    }

    pub(crate) fn unfinished(
        command: &'static str,
        tool: &str,
        environment: &str,
        why: &Unfinished,
    ) -> Self {
        let (cause, said) = match why {
            Unfinished::Start(error) => (Cause::Start, vec![error.to_string()]),
            Unfinished::Timeout(limit) => (Cause::Timeout(*limit), Vec::new()),
            Unfinished::Interrupted => (Cause::Interrupted, Vec::new()),
        };
        Self { command, tool: tool.to_owned(), environment: environment.to_owned(), cause, said }
    }
}

fn shown(said: &[String]) -> String {
    said.iter().map(|line| format!("\n  {line}")).collect()
}

/// From the first error on, without the frame that terraform draws around it.
fn errors_of(lines: &[String]) -> Vec<String> {
    let plain: Vec<String> = lines
        .iter()
        .map(|line| line.trim_start_matches(['╷', '│', '╵', ' ']).to_owned())
        .filter(|line| !line.is_empty())
        .collect();
    let first = plain
        .iter()
        .position(|line| line.starts_with("Error:"))
        .unwrap_or(plain.len().saturating_sub(10));
    plain[first..].to_vec()
}

/// What terraform, the provider and the S3 backend say, each in words of the versions that were tried.
const WORDS: [(&str, Cause); 22] = [
    ("Saved plan is stale", Cause::Stale),
    ("No valid credential sources", Cause::Authentication),
    ("no EC2 IMDS role found", Cause::Authentication),
    ("ExpiredToken", Cause::Authentication),
    ("InvalidClientTokenId", Cause::Authentication),
    ("InvalidAccessKeyId", Cause::Authentication),
    ("SignatureDoesNotMatch", Cause::Authentication),
    ("UnrecognizedClientException", Cause::Authentication),
    ("AuthFailure", Cause::Authentication),
    ("AccessDenied", Cause::Authentication),
    ("UnauthorizedOperation", Cause::Authentication),
    ("is not authorized to perform", Cause::Authentication),
    ("AWS account ID not allowed", Cause::Authentication),
    ("StatusCode: 403", Cause::Authentication),
    ("Failed to query available provider packages", Cause::ProviderMissing),
    ("Failed to install provider", Cause::ProviderMissing),
    ("NoSuchBucket", Cause::BackendMissing),
    ("S3 bucket does not exist", Cause::BackendMissing),
    ("connection refused", Cause::Unreachable),
    ("no such host", Cause::Unreachable),
    ("i/o timeout", Cause::Unreachable),
    ("connection reset", Cause::Unreachable),
];

impl Cause {
    fn read(text: &str) -> Self {
        // Terraform breaks its lines inside a frame.
        let flat: String = text.replace(['╷', '│', '╵', '\n'], " ");
        let flat = flat.split_whitespace().collect::<Vec<_>>().join(" ");
        if flat.contains("Error acquiring the state lock") {
            let field = |name: &str| field(text, name).unwrap_or_else(|| "unknown".to_owned());
            return Self::Locked { id: field("ID:"), who: field("Who:"), since: field("Created:") };
        }
        let known = WORDS.iter().find(|(words, _)| flat.contains(words));
        known.map_or(Self::Other, |(_, cause)| cause.clone())
    }

    fn words(&self, command: &str) -> String {
        match self {
            Self::Locked { who, since, .. } => {
                format!("{who} has held the state's lock since {since}")
            }
            Self::Authentication => {
                "the credentials are missing, wrong, expired or not allowed to do this".to_owned()
            }
            Self::ProviderMissing => "the provider could not be installed".to_owned(),
            Self::BackendMissing => "the place of the state does not exist".to_owned(),
            Self::Unreachable => "a server did not answer".to_owned(),
            Self::Stale => "the state has moved on since the plan was made".to_owned(),
            Self::Timeout(limit) => {
                format!("it took more than {} s and was ended", limit.as_secs())
            }
            Self::Interrupted => "it was interrupted".to_owned(),
            Self::Start => "it could not be started".to_owned(),
            Self::Other => format!("{command} ended with an error"),
        }
    }
}

fn field(text: &str, name: &str) -> Option<String> {
    text.lines()
        .map(|line| line.trim_start_matches(['╷', '│', '╵', ' ']))
        .find_map(|line| line.strip_prefix(name))
        .map(|rest| rest.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_says_by_whom_and_since_when() {
        let text = "╷\n│ Error: Error acquiring the state lock\n│ \n│ Lock Info:\n│   ID:        7f3c\n│   Path:      states/shop\n│   Operation: OperationTypeApply\n│   Who:       ci@runner-4\n│   Version:   1.11.4\n│   Created:   2026-11-20 09:14:02 UTC\n╵";
        let lock = Cause::Locked {
            id: "7f3c".into(),
            who: "ci@runner-4".into(),
            since: "2026-11-20 09:14:02 UTC".into(),
        };
        assert_eq!(Cause::read(text), lock);
    }

    #[test]
    fn words_are_known_across_lines() {
        let text = "│ Error: No valid\n│ credential sources found";
        assert_eq!(Cause::read(text), Cause::Authentication);
        assert_eq!(Cause::read("│ Error: Saved plan is stale"), Cause::Stale);
        assert_eq!(Cause::read("│ Error: Unsupported argument"), Cause::Other);
    }

    #[test]
    fn errors_are_shown_without_their_frame() {
        let lines = ["Refreshing…", "╷", "│ Error: no", "│ ", "│   on main.tf line 1", "╵"]
            .map(String::from);
        assert_eq!(errors_of(&lines), ["Error: no", "on main.tf line 1"]);
    }
}
