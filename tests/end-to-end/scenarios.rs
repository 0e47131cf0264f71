//! What becomes of a promotion when something goes wrong: every fault of the stage, in every strategy, at every point. Each ends with the
//! new version serving whole, or with the world as it was, or says what is left and takes it back once that can be done.
//!
//! One promotion after the other in each strategy and moment; what became of each is in a table under `target/tmp`.

use std::fmt;
use std::io::Write as _;
use std::path::Path;

use liftlock_stage::{Fault, Kind, Scenario, Span};

use crate::project::{Pace, Project, Ran, World, until};

/// Bakes long enough that what goes wrong in one is seen in it.
const PACE: Pace = Pace { step_bake: 1000, bake: 1000 };

/// What becomes of a promotion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The new version serves, and nothing else.
    New,
    /// All is as before.
    Old,
    /// It says what is left, or is not seen to serve; once the fault is gone, `--resume` takes back what there is of it.
    Left,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::New => "new",
            Self::Old => "old",
            Self::Left => "left, then old",
        })
    }
}

/// When a fault comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// It is there before the promotion.
    Start,
    /// It comes with the first users on the new version.
    First,
    /// It comes with half of them on it.
    Half,
    /// It comes with all of them on it.
    Last,
}

impl Strategy {
    /// How this moment is seen to come; none for what is there before.
    fn seen(&self, moment: Moment) -> Option<Seen> {
        let seen = match moment {
            Moment::Start => return None,
            Moment::First => self.first,
            Moment::Half => self.half,
            Moment::Last => self.last,
        };
        Some(seen.unwrap_or_else(|| panic!("{} has no moment {moment}", self.name)))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Start => "before",
            Self::First => "first",
            Self::Half => "half",
            Self::Last => "last",
        })
    }
}

/// One thing that goes wrong, and what becomes of a promotion by when it does: before it, with some users, with all of them.
pub(crate) struct Row {
    pub what: &'static str,
    fault: fn(Fault) -> Fault,
    pub kind: Kind,
    ends: [End; 3],
}

impl Row {
    fn end(&self, moment: Moment) -> End {
        let [start, some, all] = self.ends;
        match moment {
            Moment::Start => start,
            Moment::First | Moment::Half => some,
            Moment::Last => all,
        }
    }
}

/// In which way users come to the new version.
pub(crate) struct Strategy {
    name: &'static str,
    lines: &'static str,
    pace: Pace,
    /// How the first users are seen to come, half of them, and the last; none where that is the same, or all is over then.
    first: Option<Seen>,
    half: Option<Seen>,
    last: Option<Seen>,
}

/// How a moment is seen to come.
#[derive(Debug, Clone, Copy)]
enum Seen {
    /// The promotion says this.
    Said(&'static str),
    /// Backend's traffic is on both target groups.
    Shared,
    /// All of backend's traffic is on the other target group.
    Moved,
}

pub(crate) const CANARY: Strategy = Strategy {
    name: "canary",
    lines: "steps = [10, 50, 100]",
    pace: PACE,
    first: Some(Seen::Said("rollout/wave-1/smoke")),
    half: Some(Seen::Said("rollout/wave-2/smoke")),
    last: Some(Seen::Said("rollout/wave-3/smoke")),
};
const LINEAR: Strategy = Strategy {
    name: "linear",
    lines: "strategy = \"linear\"\nincrement = 50",
    pace: PACE,
    first: Some(Seen::Said("rollout/wave-1/smoke")),
    half: None,
    last: Some(Seen::Said("rollout/wave-2/smoke")),
};
const AT_ONCE: Strategy = Strategy {
    name: "all at once",
    lines: "strategy = \"all-at-once\"",
    pace: PACE,
    first: None,
    half: None,
    last: Some(Seen::Said("rollout/wave-1/smoke")),
};
pub(crate) const ROLLING: Strategy = Strategy {
    name: "rolling",
    lines: "strategy = \"rolling\"",
    pace: PACE,
    first: None,
    half: None,
    last: Some(Seen::Said("rollout/wave-1/smoke")),
};
/// A minute of ECS's, which takes three seconds in the tests, and which Liftlock takes for one: so long does it wait for answers.
const MINUTE: u32 = 60_000;
pub(crate) const ECS_CANARY: Strategy = Strategy {
    name: "ecs canary",
    lines: "strategy = \"ecs-canary\"\nsteps = [10, 100]",
    pace: Pace { step_bake: MINUTE, bake: 0 },
    first: Some(Seen::Shared),
    half: None,
    last: None,
};
const ECS_LINEAR: Strategy = Strategy {
    name: "ecs linear",
    lines: "strategy = \"ecs-linear\"\nincrement = 50",
    pace: Pace { step_bake: MINUTE, bake: 0 },
    first: None,
    half: Some(Seen::Shared),
    last: None,
};
const ECS_BLUE_GREEN: Strategy = Strategy {
    name: "ecs blue/green",
    lines: "strategy = \"ecs-blue-green\"",
    pace: Pace { step_bake: MINUTE, bake: MINUTE },
    first: None,
    half: None,
    last: Some(Seen::Moved),
};

pub(crate) fn rows() -> Vec<Row> {
    use End::{Left, New, Old};
    fn same(fault: Fault) -> Fault {
        fault
    }
    let row = |what, kind, fault, ends| Row { what, fault, kind, ends };
    vec![
        row("tasks of the new version crash", Kind::Crash, same, [Old; 3]),
        row(
            "its tasks are slow to start",
            Kind::SlowStart,
            |fault| Fault { delay: Some(Span::milliseconds(500)), ..fault },
            [New; 3],
        ),
        row(
            "its memory grows until they are killed",
            Kind::Memory,
            |fault| Fault { mib_per_second: Some(600), ..fault },
            [Old; 3],
        ),
        row("its image is not there", Kind::ImageMissing, same, [Old, New, New]),
        row("the cluster has no room", Kind::NoCapacity, same, [Old, New, New]),
        row(
            "a place takes its time",
            Kind::PlacementDelay,
            |fault| Fault { delay: Some(Span::milliseconds(500)), ..fault },
            [New; 3],
        ),
        row("it answers with errors", Kind::Errors, same, [Old; 3]),
        row(
            "it answers too late",
            Kind::Latency,
            |fault| Fault { delay: Some(Span::milliseconds(2500)), ..fault },
            [Old; 3],
        ),
        row("it does not answer", Kind::Hang, same, [Old; 3]),
        row("it breaks connections off", Kind::Reset, same, [Old; 3]),
        row("it does not reach the database", Kind::DatabaseCut, same, [Old; 3]),
        row("the database is down", Kind::DatabaseDown, same, [Left; 3]),
        row(
            "AWS lets 20 calls a second through",
            Kind::Throttle,
            |fault| Fault { per_second: Some(20.0), ..fault },
            [New; 3],
        ),
        row(
            "AWS refuses three calls",
            Kind::ApiError,
            |fault| Fault { count: Some(3), ..fault },
            [New; 3],
        ),
        row("AWS refuses every call", Kind::ApiError, same, [Old, Left, Left]),
        row(
            "AWS does not answer one call",
            Kind::ApiHang,
            |fault| Fault { count: Some(1), ..fault },
            [New; 3],
        ),
        row(
            "AWS takes its time",
            Kind::ApiLatency,
            |fault| Fault { delay: Some(Span::milliseconds(100)), ..fault },
            [New; 3],
        ),
        row(
            "three of AWS's answers are lost",
            Kind::LostAnswer,
            |fault| Fault { count: Some(3), ..fault },
            [New; 3],
        ),
        row(
            "what AWS says is late",
            Kind::Lag,
            |fault| Fault { delay: Some(Span::milliseconds(400)), ..fault },
            [New; 3],
        ),
        row(
            "AWS's clock is 3 s ahead",
            Kind::ClockSkew,
            |fault| Fault { by: Some(Span::milliseconds(3000)), ..fault },
            [New; 3],
        ),
    ]
}

/// A project in which one promotion after the other goes wrong.
pub(crate) struct Room {
    pub project: Project,
    strategy: &'static Strategy,
    /// The number of the newest version.
    version: usize,
}

impl Room {
    pub(crate) async fn new(strategy: &'static Strategy) -> Option<Self> {
        let project = Project::serving_by_minutes(PACE, "3s").await?;
        project.set_steps(strategy.pace, strategy.lines);
        let file = project.path("environments/local.toml");
        let mut text = std::fs::read_to_string(&file).unwrap();
        for (as_usual, here) in [
            ("interval = \"400ms\"", "interval = \"100ms\""),
            ("error_rate_for = \"300ms\"", "error_rate_for = \"200ms\""),
            ("start_timeout = \"15s\"", "start_timeout = \"6s\""),
            // Little, so that it is soon used up.
            ("tasks = 2", "tasks = 2\nmemory = 128"),
        ] {
            assert!(text.contains(as_usual));
            text = text.replace(as_usual, here);
        }
        text.push_str("\n[probes]\ntimeout = \"1s\"\n");
        std::fs::write(file, text).unwrap();
        Some(Self { project, strategy, version: 0 })
    }

    /// The fault of this row, aimed at this version's tasks where tasks or requests are what it is about.
    pub(crate) fn fault(row: &Row, version: &str) -> Fault {
        let mut fault = (row.fault)(Fault::new(row.kind));
        let of_aws = [Kind::Throttle, Kind::ApiError, Kind::ApiHang, Kind::ApiLatency];
        let of_all = [Kind::LostAnswer, Kind::Lag, Kind::ClockSkew, Kind::DatabaseDown];
        if !of_aws.contains(&row.kind) && !of_all.contains(&row.kind) {
            fault.service = Some("backend".to_owned());
            fault.version = Some(version.to_owned());
        }
        fault
    }

    /// Makes a version of its own, with a migration of its own.
    pub(crate) async fn next_version(&mut self) -> String {
        self.version += 1;
        let version = format!("2.0.{}", self.version);
        let newest = usize::try_from(self.project.schema().await).unwrap() + 1;
        if newest > 3 {
            let name = format!("later_{newest}");
            let (up, down) = (format!("create table {name} ()"), format!("drop table {name}"));
            self.project.add_migration(newest, &name, &up, &down);
        }
        self.project.add_version(&version, newest);
        version
    }

    /// Promotes a new version while this goes wrong.
    async fn promote(&mut self, row: &Row, moment: Moment) -> (String, Ran) {
        let version = self.next_version().await;
        let fault = Self::fault(row, &version);
        let stage = self.project.path(".liftlock/local/stage");
        let scenario = Scenario { seed: 1, faults: vec![fault] };
        let arguments = ["promote", "--env", "local", "--release", &version];
        let add = async || liftlock_stage::add_faults(&stage, &scenario).await.unwrap();
        let Some(seen) = self.strategy.seen(moment) else {
            add().await;
            let ran = self.project.run(&arguments).await;
            return (version, ran);
        };
        let old = self.backend_weights().await;
        let promotion = self.project.start(&arguments, &[]);
        if let Seen::Said(text) = seen {
            let promotion = promotion.heard_until(text).await;
            add().await;
            return (version, promotion.end().await);
        }
        let has_come = until("users are where they are waited for", async || {
            let now = self.backend_weights().await;
            let is_shared = !now.contains(&0);
            if matches!(seen, Seen::Shared) { is_shared } else { !is_shared && now != old }
        });
        let mut end = std::pin::pin!(promotion.end());
        tokio::select! {
            ran = &mut end => panic!("it ended too early: {}", ran.report()),
            () = has_come => {}
        }
        add().await;
        (version, end.await)
    }

    /// Which share each of backend's target groups has.
    async fn backend_weights(&self) -> Vec<u32> {
        let all = self.project.weights().await;
        all.into_iter().find(|(name, _)| name == "backend").unwrap().1
    }

    /// Promotes while this goes wrong, and tells what became of it.
    async fn becomes(&mut self, row: &Row, moment: Moment) -> Result<(End, Ran), String> {
        let before = self.project.world().await;
        let serving = self.project.versions().await["backend"][0].clone();
        let (version, ran) = self.promote(row, moment).await;
        let stage = self.project.path(".liftlock/local/stage");
        liftlock_stage::clear_faults(&stage, None).await.unwrap();
        let end = match ran.status.code() {
            Some(0) => End::New,
            Some(1) => End::Old,
            Some(6) => End::Left,
            _ => return Err(ran.report()),
        };
        if end == End::Left {
            let now = self.project.world().await;
            names_what_is_left(&before, &now, &ran)?;
            let resumed = self.project.run(&["promote", "--env", "local", "--resume"]).await;
            // With 2, there is nothing to resume: all was undone, and only not seen to serve.
            let right = if now == before { 1..=2 } else { 1..=1 };
            if !resumed.status.code().is_some_and(|code| right.contains(&code)) {
                return Err(format!("{}\n{}", ran.report(), resumed.report()));
            }
        }
        if end != End::New && self.project.world().await != before {
            let now = self.project.world().await;
            return Err(format!("{now:#?}\nis not\n{before:#?}\n{}", ran.report()));
        }
        self.project.serves(if end == End::New { &version } else { &serving }).await;
        self.project.is_settled().await;
        Ok((end, ran))
    }

    /// Every fault at this moment; what became of each is in a table under `target/tmp`, line by line as it goes.
    async fn every_fault(mut self, moment: Moment) {
        let name =
            format!("scenarios-{}-{moment}.txt", self.strategy.name).replace([' ', '/'], "-");
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let mut table = std::fs::File::create(path).unwrap();
        let head = format!("{:42} {:9} {:16} became", "fault", "comes", "expected");
        writeln!(table, "{}\n{head}", self.strategy.name).unwrap();
        let mut wrong = String::new();
        let only = std::env::var("LIFTLOCK_SCENARIO").unwrap_or_default();
        for row in rows().into_iter().filter(|row| row.what.contains(&only)) {
            let expected = row.end(moment);
            let became = self.becomes(&row, moment).await;
            let told = became.as_ref().map_or("neither".to_owned(), |(end, _)| end.to_string());
            writeln!(table, "{:42} {moment:9} {expected:16} {told}", row.what).unwrap();
            let why = match became {
                Ok((end, _)) if end == expected => continue,
                Ok((_, ran)) => ran.report(),
                Err(why) => why,
            };
            wrong += &format!("\n{} ({moment}): {told}, not {expected}\n{why}", row.what);
        }
        assert!(wrong.is_empty(), "{}\n{wrong}", self.strategy.name);
    }
}

/// What differs from before is named where the promotion says what is left.
fn names_what_is_left(before: &World, now: &World, ran: &Ran) -> Result<(), String> {
    let said = format!("{}{}", ran.stdout, ran.stderr);
    let mut missing = Vec::new();
    if now.schema != before.schema && !said.contains(&format!("V{:04}", now.schema)) {
        missing.push(format!("the schema is at V{:04}", now.schema));
    }
    for (name, service) in &now.services {
        if Some(service) != before.services.get(name) && !said.contains(name.as_str()) {
            missing.push(format!("{name}: {service:?}"));
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(format!("{missing:#?}\n{}", ran.report())) }
}

/// Tries every fault in this strategy at this moment. Each is a test of its own: one for all would take longer than all others beside it.
async fn whatever_goes_wrong(strategy: &'static Strategy, moment: Moment) {
    let Some(room) = Room::new(strategy).await else { return };
    room.every_fault(moment).await;
}

/// Shows A-RB-1, C-RB-1 and D-RB-1 for a canary that does not come far.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_before_a_canary_it_ends_whole() {
    whatever_goes_wrong(&CANARY, Moment::Start).await;
}

/// Shows A-RB-1, C-RB-1 and D-RB-1 for a canary's first users.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_for_a_canarys_first_users_it_ends_whole() {
    whatever_goes_wrong(&CANARY, Moment::First).await;
}

/// Shows A-RB-1, C-RB-1 and D-RB-1 for a canary that has half of the users.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_amid_a_canary_it_ends_whole() {
    whatever_goes_wrong(&CANARY, Moment::Half).await;
}

/// Shows A-RB-1, C-RB-1 and D-RB-1 for a canary that has all users.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_at_a_canarys_end_it_ends_whole() {
    whatever_goes_wrong(&CANARY, Moment::Last).await;
}

/// Shows A-RB-1, C-RB-1 and D-RB-1 for equal steps that do not come far.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_before_equal_steps_it_ends_whole() {
    whatever_goes_wrong(&LINEAR, Moment::Start).await;
}

/// Shows A-RB-1, C-RB-1 and D-RB-1 for the first users of equal steps.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_for_the_first_users_of_equal_steps_it_ends_whole() {
    whatever_goes_wrong(&LINEAR, Moment::First).await;
}

/// Shows A-RB-1, C-RB-1 and D-RB-1 for equal steps that have all users.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_at_the_end_of_equal_steps_it_ends_whole() {
    whatever_goes_wrong(&LINEAR, Moment::Last).await;
}

/// Shows A-RB-1, C-RB-1 and D-RB-1 for blue/green in one step that does not come far.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_before_all_at_once_it_ends_whole() {
    whatever_goes_wrong(&AT_ONCE, Moment::Start).await;
}

/// Shows A-RB-1, C-RB-1 and D-RB-1 for blue/green in one step.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_after_all_at_once_it_ends_whole() {
    whatever_goes_wrong(&AT_ONCE, Moment::Last).await;
}

/// Shows A-RB-1, C-RB-1 and D-RB-1 for tasks that are not replaced where they are.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_before_tasks_are_replaced_it_ends_whole() {
    whatever_goes_wrong(&ROLLING, Moment::Start).await;
}

/// Shows A-RB-1, C-RB-1 and D-RB-1 for tasks that are replaced where they are.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_after_tasks_are_replaced_it_ends_whole() {
    whatever_goes_wrong(&ROLLING, Moment::Last).await;
}

/// Shows A-RB-1, C-RB-1 and D-RB-1 for a canary of ECS's own that does not come far.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_before_an_ecs_canary_it_ends_whole() {
    whatever_goes_wrong(&ECS_CANARY, Moment::Start).await;
}

/// Shows A-RB-1, C-RB-1 and D-RB-1 for the first users of a canary of ECS's own.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_for_an_ecs_canarys_first_users_it_ends_whole() {
    whatever_goes_wrong(&ECS_CANARY, Moment::First).await;
}

/// Shows A-RB-1, C-RB-1 and D-RB-1 for equal steps of ECS's own that do not come far.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_before_equal_steps_of_ecs_it_ends_whole() {
    whatever_goes_wrong(&ECS_LINEAR, Moment::Start).await;
}

/// Shows A-RB-1, C-RB-1 and D-RB-1 for half of the users in equal steps of ECS's own.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_amid_equal_steps_of_ecs_it_ends_whole() {
    whatever_goes_wrong(&ECS_LINEAR, Moment::Half).await;
}

/// Shows A-RB-1, C-RB-1 and D-RB-1 for traffic that ECS is to move all at once.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_before_ecs_moves_all_at_once_it_ends_whole() {
    whatever_goes_wrong(&ECS_BLUE_GREEN, Moment::Start).await;
}

/// Shows A-RB-1, C-RB-1 and D-RB-1 for traffic that ECS moves all at once.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_after_ecs_moved_all_at_once_it_ends_whole() {
    whatever_goes_wrong(&ECS_BLUE_GREEN, Moment::Last).await;
}
