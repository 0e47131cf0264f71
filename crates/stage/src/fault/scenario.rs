//! Several faults with one seed, from a file or from a command's words.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Fault, Kind};

/// Several faults, and the seed of what is random about them: the same seed draws the same.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The seed.
    #[serde(default)]
    pub seed: u64,
    /// The faults.
    #[serde(default, rename = "fault")]
    pub faults: Vec<Fault>,
}

/// Why a scenario cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("the scenario {} cannot be read: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// It is no TOML, or says what no scenario says.
    #[error("the scenario {} cannot be used: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and what, on several lines.
        reason: String,
    },
    /// A fault makes no sense.
    #[error("{}:{line}: {reason}", path.display())]
    Fault {
        /// The file.
        path: PathBuf,
        /// The line where the fault begins, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A fault that was given on the command line makes no sense.
    #[error("this is no fault: {0}")]
    Words(String),
}

/// A scenario whose faults know where they stand.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    fault: Vec<toml::Spanned<Fault>>,
}

impl Scenario {
    /// Reads a scenario file.
    ///
    /// # Errors
    /// [`ScenarioError`] names the file and the line.
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        let text = fs::read_to_string(path).map_err(|error| ScenarioError::Unreadable {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        Self::parse(&text, path)
    }

    /// Reads a scenario; the path is for messages.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ScenarioError> {
        let raw: Raw = toml::from_str(text).map_err(|error| ScenarioError::Malformed {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        let mut faults: Vec<Fault> = Vec::new();
        for fault in raw.fault {
            let (line, fault) = (line_of(text, fault.span()), fault.into_inner());
            let at = |reason| ScenarioError::Fault { path: path.to_owned(), line, reason };
            fault.check().map_err(at)?;
            if let Some(name) = &fault.name
                && faults.iter().any(|other| other.name.as_ref() == Some(name))
            {
                return Err(at(format!("two faults are called {name}")));
            }
            faults.push(fault);
        }
        Ok(Self { seed: raw.seed, faults })
    }
}

fn line_of(text: &str, at: Range<usize>) -> usize {
    text.get(..at.start).unwrap_or(text).matches('\n').count() + 1
}

/// Settings that are text, whatever they look like.
const TEXTS: [&str; 4] = ["name", "service", "version", "code"];

impl Fault {
    /// Reads a fault from words such as `service=backend share=0.3 for=10s`: the same settings as in a scenario file.
    ///
    /// # Errors
    /// [`ScenarioError::Words`] says which word and why.
    pub fn from_words<S: AsRef<str>>(kind: Kind, words: &[S]) -> Result<Self, ScenarioError> {
        let mut table = toml::Table::new();
        table.insert("kind".to_owned(), kind.to_string().into());
        for word in words {
            let word = word.as_ref();
            let (key, value) = word.split_once('=').ok_or_else(|| {
                ScenarioError::Words(format!("`{word}` is not of the form SETTING=VALUE"))
            })?;
            let read = match value.parse::<toml::Value>() {
                Ok(number @ (toml::Value::Integer(_) | toml::Value::Float(_)))
                    if !TEXTS.contains(&key) =>
                {
                    number
                }
                _ => value.into(),
            };
            if table.insert(key.to_owned(), read).is_some() {
                return Err(ScenarioError::Words(format!("`{key}` is said twice")));
            }
        }
        let fault: Self = table
            .try_into()
            .map_err(|error: toml::de::Error| ScenarioError::Words(error.message().to_owned()))?;
        fault.check().map_err(ScenarioError::Words)?;
        Ok(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Scenario, String> {
        Scenario::parse(text, Path::new("s.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_scenario_is_read() {
        let read = parse(
            "seed = 7\n[[fault]]\nkind = \"errors\"\nservice = \"web\"\ncolour = \"green\"\nshare = 0.5\nfor = \"10s\"\n\
             [[fault]]\nkind = \"clock-skew\"\nby = \"-10m\"\n",
        )
        .unwrap();
        assert_eq!((read.seed, read.faults.len()), (7, 2));
        assert_eq!(read.faults[0].share, Some(0.5));
        assert_eq!(read.faults[1].by.unwrap().signed().as_secs(), -600);
        let json = serde_json::to_string(&read).unwrap();
        assert_eq!(serde_json::from_str::<Scenario>(&json).unwrap(), read, "{json}");
    }

    #[test]
    fn what_makes_no_sense_is_named_with_its_line() {
        for (text, says) in [
            ("[[fault]]\nkind = \"crsh\"", "unknown variant `crsh`"),
            ("[[fault]]\nkind = \"crash\"\nshares = 1", "unknown field `shares`"),
            (
                "seed = 1\n\n[[fault]]\nkind = \"crash\"\nstatus = 500",
                "s.toml:3: a fault of kind crash takes no `status`",
            ),
            ("[[fault]]\nkind = \"latency\"", "s.toml:1: a fault of kind latency needs `delay`"),
            ("[[fault]]\nkind = \"errors\"\nshare = 30", "`share` is a part of 1"),
            ("[[fault]]\nkind = \"latency\"\ndelay = \"soon\"", "`soon` is no length of time"),
            ("[[fault]]\nkind = \"latency\"\ndelay = \"-3s\"", "less than nothing"),
            (
                "[[fault]]\nkind = \"crash\"\nname = \"a\"\n[[fault]]\nkind = \"crash\"\nname = \"a\"",
                "s.toml:4: two faults are called a",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says), "{text}\n{error}");
        }
    }

    #[test]
    fn words_are_the_settings_of_a_file() {
        let read = Fault::from_words(Kind::Throttle, &["operation=ecs:*", "per_second=1"]).unwrap();
        assert_eq!((read.operation.as_deref(), read.per_second), (Some("ecs:*"), Some(1.0)));
        let read = Fault::from_words(Kind::Errors, &["version=1.2", "share=1"]).unwrap();
        assert_eq!((read.version.as_deref(), read.share), (Some("1.2"), Some(1.0)));
        for (words, says) in [
            (vec!["rate=1"], "unknown field `rate`"),
            (vec!["share"], "SETTING=VALUE"),
            (vec!["share=1", "share=0"], "said twice"),
            (vec!["delay=3s"], "takes no `delay`"),
        ] {
            let error = Fault::from_words(Kind::Throttle, &words).unwrap_err().to_string();
            assert!(error.contains(says), "{words:?}: {error}");
        }
    }

    #[test]
    fn every_kind_has_a_name() {
        for kind in Kind::ALL {
            let name = kind.to_string();
            assert_eq!(
                serde_json::from_value::<Kind>(name.clone().into()).unwrap(),
                kind,
                "{name}"
            );
        }
    }
}
