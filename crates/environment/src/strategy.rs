//! Checks of what is said of a rollout's strategy.

use liftlock_model::ServiceName;

use crate::check::Checks;
use crate::config::{Rollout, Service, Step, Strategy};

/// Whether what is said of a service's rollout is of its strategy, and makes sense there.
pub(crate) fn check(name: &ServiceName, service: &Service, checks: &mut Checks<'_>) {
    let rollout = &service.rollout;
    if let Some(steps) = &rollout.steps {
        rising(name, steps, checks);
    }
    of_strategy(name, rollout, checks);
    if rollout.strategy.is_in_place() {
        in_place(name, service, checks);
    }
}

/// What is of another strategy would be ignored in silence.
fn of_strategy(name: &ServiceName, rollout: &Rollout, checks: &mut Checks<'_>) {
    let at = |key| ["services", name.as_str(), "rollout", key];
    let strategy = match rollout.strategy {
        Strategy::Canary => "canary",
        Strategy::Linear => "linear",
        Strategy::AllAtOnce => "all-at-once",
        Strategy::Rolling => "rolling",
    };
    if rollout.strategy != Strategy::Canary && rollout.steps.is_some() {
        let message = format!("`steps` are of a canary, and the strategy is `{strategy}`");
        let help = "leave `steps` out (in base.toml too), or say `strategy = \"canary\"`";
        checks.key(&at("steps"), message, help);
    }
    match (rollout.strategy, rollout.increment) {
        (Strategy::Linear, None) => checks.value(
            &at("strategy"),
            "`linear` does not say by how much",
            "add `increment = 20` for 20 % more every `step_bake`",
        ),
        (Strategy::Canary | Strategy::AllAtOnce | Strategy::Rolling, Some(_)) => checks.key(
            &at("increment"),
            format!("`increment` is of `linear`, and the strategy is `{strategy}`"),
            "leave it out, or say `strategy = \"linear\"`",
        ),
        _ => {}
    }
    if rollout.strategy != Strategy::Rolling {
        let set = [("minimum_healthy", rollout.minimum_healthy), ("maximum", rollout.maximum)];
        for (key, _) in set.into_iter().filter(|(_, value)| value.is_some()) {
            let message = format!("`{key}` is of `rolling`, and the strategy is `{strategy}`");
            checks.key(&at(key), message, "leave it out, or say `strategy = \"rolling\"`");
        }
    }
}

/// Tasks that are replaced where they are.
fn in_place(name: &ServiceName, service: &Service, checks: &mut Checks<'_>) {
    let at = |key| ["services", name.as_str(), "rollout", key];
    let rollout = &service.rollout;
    if rollout.analysis.is_some() {
        let message = "the old and the new version share a target group while tasks are replaced where they are, so that they \
                       cannot be compared";
        let help = "leave `analysis` out (in base.toml too), or choose `canary`, `linear` or `all-at-once`";
        checks.key(&at("analysis"), message, help);
    }
    // As ECS rounds: what must stay healthy up, and what may run down.
    let tasks = u64::from(service.tasks);
    let least = (tasks * u64::from(rollout.minimum_healthy.unwrap_or(100))).div_ceil(100);
    let most = tasks * u64::from(rollout.maximum.unwrap_or(200)) / 100;
    if least >= tasks && most <= tasks {
        let key = if rollout.maximum.is_some() { "maximum" } else { "minimum_healthy" };
        let message = format!(
            "of {tasks} tasks, at least {least} would have to stay and at most {most} could run: none could ever be replaced"
        );
        checks.key(&at(key), message, "raise `maximum`, or lower `minimum_healthy`");
    }
}

fn rising(name: &ServiceName, steps: &[Step], checks: &mut Checks<'_>) {
    if steps.last().map(|step| step.share) != Some(100) {
        let message = "the last step is not 100, so the new version would never get all traffic";
        checks.value(
            &["services", name.as_str(), "rollout", "steps"],
            message,
            "end with 100, such as `[10, 50, 100]`; `strategy = \"all-at-once\"` is all at once",
        );
    }
    let falling = steps.windows(2).position(|pair| pair[0].share >= pair[1].share);
    if let Some(index) = falling {
        let message = format!(
            "step {} is not higher than the step before, {}",
            steps[index + 1].share,
            steps[index].share
        );
        let index = (index + 1).to_string();
        let path = ["services", name.as_str(), "rollout", "steps", &index];
        checks.value(&path, message, "steps rise, such as `[10, 50, 100]`");
    }
}
