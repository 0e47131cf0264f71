//! The two colours of a service, and how traffic is split between them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One of the two places where a service's tasks run. Which of them is live changes with every rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Colour {
    Blue,
    Green,
}

impl Colour {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Blue, Self::Green];

    /// The one that this is not.
    pub fn other(self) -> Self {
        match self {
            Self::Blue => Self::Green,
            Self::Green => Self::Blue,
        }
    }

    /// The colour's name in lower case, as it stands in resources' names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
        }
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why two numbers are not a split of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("blue {blue} and green {green} are not shares of traffic: they must sum to 100")]
pub struct WeightsError {
    blue: u8,
    green: u8,
}

/// How production traffic is split between the colours, in percent: the shares always sum to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Raw")]
pub struct Weights {
    blue: u8,
    green: u8,
}

#[derive(Deserialize)]
struct Raw {
    blue: u8,
    green: u8,
}

impl TryFrom<Raw> for Weights {
    type Error = WeightsError;
    fn try_from(raw: Raw) -> Result<Self, WeightsError> {
        Self::new(raw.blue, raw.green)
    }
}

impl Weights {
    /// A split, which must sum to 100.
    pub fn new(blue: u8, green: u8) -> Result<Self, WeightsError> {
        if u16::from(blue) + u16::from(green) == 100 {
            Ok(Self { blue, green })
        } else {
            Err(WeightsError { blue, green })
        }
    }

    /// All traffic to one colour.
    pub fn all(colour: Colour) -> Self {
        match colour {
            Colour::Blue => Self { blue: 100, green: 0 },
            Colour::Green => Self { blue: 0, green: 100 },
        }
    }

    /// `share` percent to one colour, the rest to the other. More than 100 is refused.
    pub fn giving(colour: Colour, share: u8) -> Result<Self, WeightsError> {
        let rest = 100u8.checked_sub(share).ok_or(WeightsError { blue: share, green: 0 })?;
        match colour {
            Colour::Blue => Self::new(share, rest),
            Colour::Green => Self::new(rest, share),
        }
    }

    /// The share of one colour, in percent.
    pub fn share(self, colour: Colour) -> u8 {
        match colour {
            Colour::Blue => self.blue,
            Colour::Green => self.green,
        }
    }

    /// Blue's share, in percent.
    pub fn blue(self) -> u8 {
        self.blue
    }

    /// Green's share, in percent.
    pub fn green(self) -> u8 {
        self.green
    }
}

impl fmt::Display for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "blue {} % / green {} %", self.blue, self.green)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn weights_always_sum_to_100(blue: u8, green: u8, share: u8) {
            for weights in [
                Weights::new(blue, green),
                Weights::giving(Colour::Blue, share),
                Weights::giving(Colour::Green, share),
                Ok(Weights::all(Colour::Blue)),
                Ok(Weights::all(Colour::Green)),
            ].into_iter().flatten() {
                prop_assert_eq!(u16::from(weights.blue()) + u16::from(weights.green()), 100);
            }
            prop_assert_eq!(Weights::giving(Colour::Blue, share).is_ok(), share <= 100);
        }
    }

    #[test]
    fn a_written_split_is_checked_when_it_is_read() {
        let weights = Weights::giving(Colour::Green, 10).unwrap();
        let text = serde_json::to_string(&weights).unwrap();
        assert_eq!(text, r#"{"blue":90,"green":10}"#);
        assert_eq!(serde_json::from_str::<Weights>(&text).unwrap(), weights);
        assert!(serde_json::from_str::<Weights>(r#"{"blue":90,"green":90}"#).is_err());
    }
}
