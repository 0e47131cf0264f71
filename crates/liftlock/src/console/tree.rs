//! The picture of an environment as a tree of lines. Pure.

use liftlock_model::RunKind;
use liftlock_promote::{Picture, RunPicture, ServicePicture};
use liftlock_rollout::{Colour, Death, Live, obituaries};

/// How many of a colour's last errors are shown.
const ERRORS: usize = 2;

/// A line and what hangs on it.
struct Branch {
    text: String,
    below: Vec<Branch>,
}

impl Branch {
    fn leaf(text: impl Into<String>) -> Self {
        Self { text: text.into(), below: Vec::new() }
    }

    fn write(&self, lead: &str, is_last: bool, lines: &mut Vec<String>) {
        let (fork, rest) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let mut parts = self.text.lines();
        lines.push(format!("{lead}{fork}{}", parts.next().unwrap_or_default()));
        let stem = if self.below.is_empty() { "" } else { "│  " };
        lines.extend(parts.map(|part| format!("{lead}{rest}{stem}{part}")));
        let lead = format!("{lead}{rest}");
        for (index, branch) in self.below.iter().enumerate() {
            branch.write(&lead, index + 1 == self.below.len(), lines);
        }
    }
}

/// The lines, without any style.
pub(crate) fn lines(picture: &Picture, program: &str) -> Vec<String> {
    let environment = &picture.environment;
    let mut lines = Vec::new();
    let mut branches = Vec::new();
    match &picture.run {
        Some(run) => {
            lines.push(format!("{environment}: {}", headline(run)));
            branches.extend(state(run, environment.as_str(), program));
        }
        None => lines.push(format!("{environment}: nothing has been deployed yet")),
    }
    branches.extend(picture.services.iter().map(service));
    if let Some(run) = picture.run.as_ref().filter(|run| !run.verdicts.is_empty()) {
        let below = run.verdicts.iter().map(|one| {
            let (bad, size) = (one.sample.bad, one.sample.size);
            Branch::leaf(format!(
                "{} {}: {} ({bad} of {size} bad): {}",
                one.verdict.mark(),
                one.check,
                one.verdict,
                first_line(&one.detail)
            ))
        });
        branches.push(Branch { text: "verdicts".into(), below: below.collect() });
    }
    for (index, branch) in branches.iter().enumerate() {
        branch.write("", index + 1 == branches.len(), &mut lines);
    }
    lines
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn headline(run: &RunPicture) -> String {
    let what = match run.kind {
        RunKind::Rollback => "rollback to",
        _ => "promotion of",
    };
    let version = run.release_version.as_deref().unwrap_or("?");
    let release = run.release.as_ref().map(|id| format!(" ({id})")).unwrap_or_default();
    let at = run.started.strftime("%Y-%m-%d %H:%M:%S UTC");
    format!("{what} {version}{release} by {} since {at}  {}", run.actor, run.run)
}

fn state(run: &RunPicture, environment: &str, program: &str) -> Vec<Branch> {
    let step = run.step.as_ref().map(|step| format!(" at {step}")).unwrap_or_default();
    let progress = format!("{} of {} steps done", run.done, run.steps);
    let mut branches = vec![Branch::leaf(match (run.outcome, run.is_at_work, run.goes_back) {
        (Some(outcome), ..) => format!("ended: {outcome}; {progress}"),
        (None, true, true) => format!("goes back{step}"),
        (None, true, false) => format!("at work{step}; {progress}"),
        (None, false, _) => format!(
            "interrupted{step}; {progress}\nnext: {program} promote --env {environment} --resume"
        ),
    })];
    if let Some(paused) = run.paused.as_ref().filter(|_| run.outcome.is_none()) {
        let until =
            paused.until.map(|until| format!(", turns back at {}", until.strftime("%H:%M:%S UTC")));
        branches.push(Branch::leaf(format!(
            "paused with {} % of the traffic since {}{}\nnext: {program} rollout resume --env {environment}, or {program} rollout \
             abort --env {environment} --reason TEXT",
            paused.share,
            paused.since.strftime("%H:%M:%S UTC"),
            until.unwrap_or_default(),
        )));
    }
    branches.extend(run.failure.as_ref().map(|why| Branch::leaf(format!("✗ {why}"))));
    branches
}

fn service(seen: &ServicePicture) -> Branch {
    let name = &seen.service;
    let Some(live) = &seen.live else {
        let why = seen.error.as_deref().unwrap_or("it was not looked at");
        return Branch::leaf(format!("{name}: cannot be seen: {why}"));
    };
    Branch {
        text: format!("{name}: {}; test listener: {}", live.weights, live.test),
        below: Colour::BOTH.map(|one| colour(live, one, seen.deaths.get(&one))).into(),
    }
}

fn colour(live: &Live, colour: Colour, deaths: Option<&Vec<Death>>) -> Branch {
    let state = live.colour(colour);
    let revision =
        state.task_definition.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    let share = live.weights.share(colour);
    let errors = match deaths {
        Some(deaths) => vec![Branch::leaf(format!("✗ {}", obituaries(deaths)))],
        None => {
            let newest = state.stopped.iter().take(ERRORS);
            newest.map(|why| Branch::leaf(format!("✗ stopped: {why}"))).collect()
        }
    };
    Branch {
        text: format!("{:<5} {share:>3} %  {revision}  {}", colour.as_str(), state.summary()),
        below: errors,
    }
}

/// One glance at a verdict.
trait Mark {
    fn mark(&self) -> &'static str;
}

impl Mark for liftlock_model::Verdict {
    fn mark(&self) -> &'static str {
        match self {
            Self::Pass => "✓",
            Self::Fail => "✗",
            Self::Inconclusive => "?",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use liftlock_model::{Actor, RunId, Sample, Verdict};
    use liftlock_promote::{PausePicture, VerdictPicture};
    use liftlock_rollout::{ColourState, TaskDefinition, Weights};

    use super::*;

    fn picture() -> Picture {
        let up = |revision: &str, stopped: &[&str]| ColourState {
            task_definition: Some(TaskDefinition::new(revision)),
            desired: 2,
            running: 2,
            steady: true,
            healthy_targets: 2,
            stopped: stopped.iter().map(|why| (*why).to_owned()).collect(),
            ..ColourState::default()
        };
        let live = Live {
            blue: up("web:7", &[]),
            green: up("web:8", &["container web exited with 1", "older", "oldest"]),
            weights: Weights::new(90, 10).unwrap(),
            test: Colour::Green,
        };
        let run = RunPicture {
            run: "run-01jd2m6q3v8k4x7c9b5n1t0r2s".parse::<RunId>().unwrap(),
            kind: RunKind::Promotion,
            release: None,
            release_version: Some("1.2.0".into()),
            actor: Actor::new("ann"),
            started: Timestamp::UNIX_EPOCH,
            is_at_work: true,
            step: Some(liftlock_model::StepName::new("rollout/wave-1/pause")),
            done: 9,
            steps: 20,
            goes_back: false,
            paused: Some(PausePicture { share: 10, since: Timestamp::UNIX_EPOCH, until: None }),
            verdicts: vec![VerdictPicture {
                check: "rollout/wave-1/bake".into(),
                verdict: Verdict::Pass,
                sample: Sample { size: 5, bad: 0 },
                detail: "the breaker did not trip".into(),
            }],
            failure: None,
            outcome: None,
        };
        let down = ServicePicture {
            service: "api".parse().unwrap(),
            live: None,
            error: Some("throttled".into()),
            deaths: BTreeMap::new(),
        };
        let web = ServicePicture {
            service: "web".parse().unwrap(),
            live: Some(live),
            error: None,
            deaths: BTreeMap::new(),
        };
        Picture { environment: "prod".parse().unwrap(), run: Some(run), services: vec![web, down] }
    }

    #[test]
    fn the_tree_shows_services_colours_weights_verdicts_and_last_errors() {
        let shown = lines(&picture(), "liftlock").join("\n");
        let expected = "\
prod: promotion of 1.2.0 by ann since 1970-01-01 00:00:00 UTC  run-01jd2m6q3v8k4x7c9b5n1t0r2s
├─ at work at rollout/wave-1/pause; 9 of 20 steps done
├─ paused with 10 % of the traffic since 00:00:00 UTC
│  next: liftlock rollout resume --env prod, or liftlock rollout abort --env prod --reason TEXT
├─ web: blue 90 % / green 10 %; test listener: green
│  ├─ blue   90 %  web:7  2 of 2 tasks running, 2 targets healthy, 2 on an unknown digest
│  └─ green  10 %  web:8  2 of 2 tasks running, 2 targets healthy, 2 on an unknown digest
│     ├─ ✗ stopped: container web exited with 1
│     └─ ✗ stopped: older
├─ api: cannot be seen: throttled
└─ verdicts
   └─ ✓ rollout/wave-1/bake: pass (0 of 5 bad): the breaker did not trip";
        assert_eq!(shown, expected);
    }

    #[test]
    fn the_last_lines_of_a_task_that_died_hang_below_its_colour() {
        let mut dead = picture();
        let death = |task: &str| Death {
            task: task.into(),
            why: "container web exited with 1".into(),
            log: vec!["no such table".into()],
            no_log: None,
        };
        dead.services[0].deaths.insert(Colour::Green, vec![death("a"), death("b")]);
        let shown = lines(&dead, "liftlock").join("\n");
        let expected = "
│     └─ ✗ task a: container web exited with 1 (and another like it)
│          | no such table";
        assert!(shown.contains(expected), "{shown}");
        assert!(!shown.contains("stopped: "), "{shown}");
    }

    #[test]
    fn a_run_that_died_says_how_to_go_on() {
        let mut dead = picture();
        let run = dead.run.as_mut().unwrap();
        run.is_at_work = false;
        run.paused = None;
        let shown = lines(&dead, "cargo xtask").join("\n");
        assert!(shown.contains("interrupted at rollout/wave-1/pause; 9 of 20"), "{shown}");
        assert!(shown.contains("next: cargo xtask promote --env prod --resume"), "{shown}");
        assert!(!dead.is_under_way() && picture().is_under_way());
    }
}
