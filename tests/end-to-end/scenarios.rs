//! What becomes of a promotion when something goes wrong: every fault of the stage, in every strategy, at every point. Each ends with the
//! new version serving whole, or with the world as it was, or says what is left and takes it back once that can be done.
//!
//! `LIFTLOCK_SCENARIOS_WHOLE=1` tries every fault at every point in every strategy, which takes a quarter of an hour; without it, those points
//! alone at which the strategies differ.

use std::fmt;
use std::io::Write as _;
use std::path::Path;

use liftlock_stage::{Colour, Fault, Kind, Scenario, Span};

use crate::project::{Pace, Project, Ran, World};

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
    /// It comes with all of them on it.
    Last,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Start => "before",
            Self::First => "first",
            Self::Last => "last",
        })
    }
}

/// One thing that goes wrong, and what becomes of a promotion by when it does: before it, with the first users, with all of them.
pub(crate) struct Row {
    pub what: &'static str,
    fault: fn(Fault) -> Fault,
    pub kind: Kind,
    ends: [End; 3],
}

/// In which way traffic moves, and how many waves that takes.
pub(crate) struct Strategy {
    name: &'static str,
    lines: &'static str,
    waves: usize,
    /// When faults come if not all is wanted: what comes before there are users is the same in each.
    tried: &'static [Moment],
}

pub(crate) const CANARY: Strategy = Strategy {
    name: "canary",
    lines: "steps = [10, 50, 100]",
    waves: 3,
    tried: &[Moment::Start, Moment::First, Moment::Last],
};
const LINEAR: Strategy = Strategy {
    name: "linear",
    lines: "strategy = \"linear\"\nincrement = 50",
    waves: 2,
    tried: &[Moment::First],
};
const AT_ONCE: Strategy = Strategy {
    name: "all at once",
    lines: "strategy = \"all-at-once\"",
    waves: 1,
    tried: &[Moment::Last],
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
    version: usize,
}

impl Room {
    pub(crate) async fn new(strategy: &'static Strategy) -> Option<Self> {
        let project = Project::serving(PACE).await?;
        project.set_steps(PACE, strategy.lines);
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

    /// The fault of this row, aimed at the new version's tasks where tasks or requests are what it is about.
    pub(crate) async fn fault(&self, row: &Row) -> Fault {
        let mut fault = (row.fault)(Fault::new(row.kind));
        let of_aws = [Kind::Throttle, Kind::ApiError, Kind::ApiHang, Kind::ApiLatency];
        let of_all = [Kind::LostAnswer, Kind::Lag, Kind::ClockSkew, Kind::DatabaseDown];
        if !of_aws.contains(&row.kind) && !of_all.contains(&row.kind) {
            let weights = self.project.weights().await;
            let (_, backend) = weights.iter().find(|(name, _)| name == "backend").unwrap();
            fault.service = Some("backend".to_owned());
            // Blue is first, and what has no weight is where the new version comes.
            fault.colour = Some(if backend[0] == 0 { Colour::Blue } else { Colour::Green });
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
        let fault = self.fault(row).await;
        let stage = self.project.path(".liftlock/local/stage");
        let scenario = Scenario { seed: 1, faults: vec![fault] };
        let arguments = ["promote", "--env", "local", "--release", &version];
        let wave = match moment {
            Moment::Start => {
                liftlock_stage::add_faults(&stage, &scenario).await.unwrap();
                return (version.clone(), self.project.run(&arguments).await);
            }
            Moment::First => 1,
            Moment::Last => self.strategy.waves,
        };
        let promotion = self.project.start(&arguments, &[]);
        let promotion = promotion.heard_until(&format!("rollout/wave-{wave}/smoke")).await;
        liftlock_stage::add_faults(&stage, &scenario).await.unwrap();
        (version, promotion.end().await)
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

    /// Every fault at every point; what became of each is in a table under `target/tmp`, line by line as it goes.
    async fn all(mut self) {
        let name = format!("scenarios-{}.txt", self.strategy.name.replace(' ', "-"));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let mut table = std::fs::File::create(path).unwrap();
        writeln!(
            table,
            "{}\n{:42} {:9} {:16} became",
            self.strategy.name, "fault", "comes", "expected"
        )
        .unwrap();
        let mut wrong = String::new();
        let only = std::env::var("LIFTLOCK_SCENARIO").unwrap_or_default();
        let whole = std::env::var_os("LIFTLOCK_SCENARIOS_WHOLE").is_some();
        for row in rows().into_iter().filter(|row| row.what.contains(&only)) {
            for (moment, expected) in
                [Moment::Start, Moment::First, Moment::Last].into_iter().zip(row.ends)
            {
                let is_another = moment != Moment::First || self.strategy.waves > 1;
                if !(is_another && (whole || self.strategy.tried.contains(&moment))) {
                    continue;
                }
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

/// Shows A-RB-1, C-RB-1 and D-RB-1 for a canary.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_in_a_canary_it_ends_whole() {
    let Some(room) = Room::new(&CANARY).await else { return };
    room.all().await;
}

/// Shows A-RB-1, C-RB-1 and D-RB-1 for equal steps.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_in_equal_steps_it_ends_whole() {
    let Some(room) = Room::new(&LINEAR).await else { return };
    room.all().await;
}

/// Shows A-RB-1, C-RB-1 and D-RB-1 for blue/green in one step.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_all_at_once_it_ends_whole() {
    let Some(room) = Room::new(&AT_ONCE).await else { return };
    room.all().await;
}
