//! Moving traffic, and seeing what serves.

use liftlock_model::ImageDigest;
use serde::Serialize;

use crate::wait::Step;
use crate::{Colour, Live, RolloutError, Target, Wait, Weights};

/// Traffic was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Shifted {
    /// The split before.
    pub before: Weights,
    /// The split that was read back afterwards.
    pub after: Weights,
}

/// Splits traffic as asked, and reads the split back. Capacity before traffic, in both directions: a colour whose share
/// rises needs `needed` healthy targets (at least one), and a colour that keeps a share needs at least one; otherwise
/// the weights are left alone.
pub async fn shift(
    target: &dyn Target,
    weights: Weights,
    needed: u32,
    wait: &Wait<'_>,
) -> Result<Shifted, RolloutError> {
    let live = wait.see(|| target.outline(), &doing(weights)).await?;
    shift_from(target, &live, weights, needed, wait).await
}

/// The same where it was just looked, as for [`reconcile()`](crate::reconcile()).
pub async fn shift_from(
    target: &dyn Target,
    live: &Live,
    weights: Weights,
    needed: u32,
    wait: &Wait<'_>,
) -> Result<Shifted, RolloutError> {
    let doing = doing(weights);
    permit(live, weights, needed)?;
    wait.go_on(&doing)?;
    if live.weights != weights {
        target.set_weights(weights).await?;
    }
    let read = |(now, _): &(Weights, Colour)| {
        if *now == weights { Step::Done(()) } else { Step::NotYet(format!("{now} is read")) }
    };
    match wait.until(|| target.splits(), &doing, read).await {
        Ok(((), _)) => Ok(Shifted { before: live.weights, after: weights }),
        Err(RolloutError::TimedOut { .. }) => {
            let (seen, _) = target.splits().await?;
            if seen == weights {
                Ok(Shifted { before: live.weights, after: weights })
            } else {
                Err(RolloutError::NotReadBack { wanted: weights, seen })
            }
        }
        Err(error) => Err(error),
    }
}

fn doing(weights: Weights) -> String {
    format!("shifting traffic to {weights}")
}

/// Pure: may traffic be split so, with what is there?
fn permit(live: &Live, weights: Weights, needed: u32) -> Result<(), RolloutError> {
    for colour in Colour::BOTH {
        let (now, share) = (live.weights.share(colour), weights.share(colour));
        let needed = match share {
            0 => continue,
            share if share > now => needed.max(1),
            _ => 1,
        };
        let healthy = live.colour(colour).healthy_targets;
        if healthy < needed {
            return Err(RolloutError::NoCapacity { colour, share, healthy, needed });
        }
    }
    Ok(())
}

/// Looks whether the requested digest, and nothing else, serves all traffic: the colour has all of it, exactly `count` of its
/// tasks run and are known to run this digest, and as many of its targets are healthy. Success is reported on this alone.
pub async fn seen_serving(
    target: &dyn Target,
    colour: Colour,
    digest: &ImageDigest,
    count: u32,
) -> Result<(), RolloutError> {
    let live = target.live().await?;
    let state = live.colour(colour);
    let serves = live.weights == Weights::all(colour)
        && state.runs_exactly(digest, count)
        && state.healthy_targets >= count.max(1);
    if serves {
        return Ok(());
    }
    let seen = format!("{}; {}", live.weights, state.summary());
    Err(RolloutError::NotServing { colour, digest: digest.clone(), seen })
}
