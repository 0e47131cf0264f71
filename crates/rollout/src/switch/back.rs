//! What comes back when a dead-man's switch fires.

use std::collections::BTreeMap;
use std::fmt;

use liftlock_model::ServiceName;
use serde::{Deserialize, Serialize};

use crate::{Colour, Live, TaskDefinition, Weights, WeightsError};

/// What comes back of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum Back {
    /// The split of its traffic, which nobody but the run moves.
    Weights(Weights),
    /// The tasks of a colour, which the platform replaces where users are.
    Tasks {
        /// Which colour has them.
        colour: Colour,
        /// What they were made from.
        task_definition: TaskDefinition,
    },
}

/// What comes back, by service.
pub type Backs = BTreeMap<ServiceName, Back>;

impl Back {
    /// Whether it is so already, or on its way: the switch would change nothing.
    pub fn is_set(&self, live: &Live) -> bool {
        match self {
            Self::Weights(weights) => live.weights == *weights,
            Self::Tasks { colour, task_definition } => {
                live.colour(*colour).task_definition.as_ref() == Some(task_definition)
            }
        }
    }

    /// Whether users would be served by what comes back. Tasks are started anew, so that it does not depend on those that are there.
    pub fn would_carry(&self, live: &Live) -> bool {
        let carries = |weights: &Weights, colour| {
            weights.share(colour) == 0 || live.colour(colour).healthy_targets > 0
        };
        match self {
            Self::Weights(weights) => {
                Colour::BOTH.into_iter().all(|colour| carries(weights, colour))
            }
            Self::Tasks { .. } => true,
        }
    }
}

impl fmt::Display for Back {
    /// For people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weights(weights) => weights.fmt(f),
            Self::Tasks { colour, task_definition } => {
                write!(f, "{colour} with tasks of {task_definition}")
            }
        }
    }
}

/// As it stands in a journal: weights alone, or a colour with its revision.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    blue: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    green: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    colour: Option<Colour>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_definition: Option<TaskDefinition>,
}

/// Why a journal does not say what comes back.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error("neither weights nor a colour with its revision")]
    Neither,
}

impl TryFrom<Written> for Back {
    type Error = Unreadable;

    fn try_from(written: Written) -> Result<Self, Unreadable> {
        match written {
            Written {
                blue: Some(blue),
                green: Some(green),
                colour: None,
                task_definition: None,
            } => Ok(Self::Weights(Weights::new(blue, green)?)),
            Written {
                blue: None,
                green: None,
                colour: Some(colour),
                task_definition: Some(task_definition),
            } => Ok(Self::Tasks { colour, task_definition }),
            _ => Err(Unreadable::Neither),
        }
    }
}

impl From<Back> for Written {
    fn from(back: Back) -> Self {
        match back {
            Back::Weights(weights) => {
                Self { blue: Some(weights.blue()), green: Some(weights.green()), ..Self::default() }
            }
            Back::Tasks { colour, task_definition } => Self {
                colour: Some(colour),
                task_definition: Some(task_definition),
                ..Self::default()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json, to_value};

    use super::*;

    /// What an earlier version wrote is read as what it was.
    #[test]
    fn a_journal_says_which_of_both_it_is() {
        let weights = Back::Weights(Weights::all(Colour::Blue));
        assert_eq!(to_value(&weights).unwrap(), to_value(Weights::all(Colour::Blue)).unwrap());
        let tasks = Back::Tasks {
            colour: Colour::Green,
            task_definition: TaskDefinition::new("shop-prod-backend:7"),
        };
        let written = json!({ "colour": "green", "task_definition": "shop-prod-backend:7" });
        assert_eq!(to_value(&tasks).unwrap(), written);
        for back in [weights, tasks] {
            assert_eq!(from_value::<Back>(to_value(&back).unwrap()).unwrap(), back);
        }
        let bad = [
            json!({}),
            json!({ "blue": 100 }),
            json!({ "blue": 50, "green": 10 }),
            json!({ "colour": "blue" }),
            json!({ "blue": 100, "green": 0, "colour": "blue", "task_definition": "a:1" }),
            json!({ "blue": 100, "green": 0, "arn": "a" }),
            Value::Null,
        ];
        for bad in bad {
            assert!(from_value::<Back>(bad.clone()).is_err(), "{bad}");
        }
    }
}
