//! Checks of what is said of a rollout's strategy.

use liftlock_model::ServiceName;

use crate::check::Checks;
use crate::config::{Pause, Rollout, Service, Step, Strategy};

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
    let strategy = rollout.strategy.as_str();
    let (has_steps, has_increment) = (
        matches!(rollout.strategy, Strategy::Canary | Strategy::EcsCanary),
        matches!(rollout.strategy, Strategy::Linear | Strategy::EcsLinear),
    );
    if !has_steps && rollout.steps.is_some() {
        let message = format!("`steps` are of a canary, and the strategy is `{strategy}`");
        let help = "leave `steps` out (in base.toml too), or say `strategy = \"canary\"`";
        checks.key(&at("steps"), message, help);
    }
    match (has_increment, rollout.increment) {
        (true, None) => checks.value(
            &at("strategy"),
            format!("`{strategy}` does not say by how much"),
            "add `increment = 20` for 20 % more every `step_bake`",
        ),
        (false, Some(_)) => checks.key(
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

/// What ECS's own strategies take: bakes in whole minutes, up to a day, and a canary of two steps.
fn by_ecs(name: &ServiceName, rollout: &Rollout, checks: &mut Checks<'_>) {
    let at = |key| ["services", name.as_str(), "rollout", key];
    let bakes = [
        ("bake", rollout.bake, true),
        ("step_bake", rollout.step_bake, rollout.strategy != Strategy::EcsBlueGreen),
    ];
    for (key, bake, counts) in bakes {
        let bake = bake.duration();
        let whole = bake.as_secs().is_multiple_of(60) && bake.subsec_nanos() == 0;
        if counts && (!whole || bake.as_secs() > 24 * 60 * 60) {
            let message = format!("ECS counts `{key}` in whole minutes, up to a day");
            checks.key(&at(key), message, "such as `\"5m\"`");
        }
    }
    if rollout.strategy == Strategy::EcsLinear && rollout.increment.is_some_and(|one| one < 3) {
        let message = "ECS adds no less than 3 % at a time";
        checks.key(&at("increment"), message, "allowed: 3 to 100, or `strategy = \"linear\"`");
    }
    if rollout.strategy != Strategy::EcsCanary {
        return;
    }
    let Some(steps) = &rollout.steps else {
        let message = "`ecs-canary` does not say how much comes first";
        checks.value(&at("strategy"), message, "add `steps = [10, 100]`");
        return;
    };
    let plain = |step: &Step| step.bake.is_none() && matches!(step.pause, None | Some(Pause::No));
    if steps.len() != 2 || !steps.iter().all(plain) {
        let message = "ECS's canary has two steps, without pauses or bakes of their own";
        let help = "such as `[10, 100]`; `strategy = \"canary\"` takes any steps";
        checks.value(&at("steps"), message, help);
    }
}

/// Tasks that the platform replaces.
fn in_place(name: &ServiceName, service: &Service, checks: &mut Checks<'_>) {
    let at = |key| ["services", name.as_str(), "rollout", key];
    let rollout = &service.rollout;
    if rollout.strategy.is_shifted_by_ecs() {
        by_ecs(name, rollout, checks);
    }
    if rollout.analysis.is_some() {
        let message = format!(
            "with `{}` the load balancer does not count the old and the new version apart, so that they cannot be compared",
            rollout.strategy.as_str()
        );
        let help = "leave `analysis` out (in base.toml too), or choose `canary`, `linear` or `all-at-once`";
        checks.key(&at("analysis"), message, help);
    }
    if rollout.strategy != Strategy::Rolling {
        return;
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
