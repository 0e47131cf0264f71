//! The faults that are on, and the drawing of lots.

use std::collections::HashMap;
use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::random::Random;
use super::{Fault, Kind, Scenario};
use crate::pattern;
use crate::topology::Colour;

/// Which task is meant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) task: &'a str,
    pub(crate) service: &'a str,
    pub(crate) colour: Colour,
    pub(crate) revision: u32,
    pub(crate) digest: Option<&'a str>,
    pub(crate) version: Option<&'a str>,
}

/// A fault as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultStatus {
    /// The fault; its name is always there.
    pub fault: Fault,
    /// Whether it hits what comes now.
    pub state: FaultState,
    /// How many it has hit.
    pub hits: u64,
}

/// Whether a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultState {
    /// Its time has not come.
    Waiting,
    /// It hits.
    On,
    /// Its time is over, or it has hit as many as it was to.
    Over,
}

/// What is done to a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Meddling {
    pub(crate) delay: Duration,
    pub(crate) instead: Option<Instead>,
}

/// What comes in the place of a task's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instead {
    Status(u16),
    Reset,
    Hang,
}

/// What is done to an AWS call.
#[derive(Debug, Clone, Default)]
pub(crate) struct CallFate {
    pub(crate) delay: Duration,
    pub(crate) throttled: bool,
    /// The error's code, if it is not AWS's own for a fault of the service, and the HTTP status.
    pub(crate) error: Option<(Option<String>, u16)>,
    pub(crate) hang: bool,
    pub(crate) lost: bool,
    pub(crate) lag: Duration,
}

#[derive(Debug)]
struct Active {
    fault: Fault,
    since: Instant,
    random: Random,
    hits: u64,
    /// What was drawn for a task: once for its whole life.
    drawn: HashMap<String, bool>,
    /// Calls that may pass now, and when that was counted.
    tokens: (f64, Instant),
}

/// The faults, in the order in which they were added.
#[derive(Debug, Default)]
pub(crate) struct Board {
    active: Vec<Active>,
    made: u64,
}

impl Active {
    fn state(&self) -> FaultState {
        let age = self.since.elapsed();
        let from = self.fault.after.map_or(Duration::ZERO, |after| after.length());
        let used_up = self.fault.count.is_some_and(|count| self.hits >= count);
        if age < from {
            FaultState::Waiting
        } else if used_up || self.fault.lasts.is_some_and(|lasts| age >= from + lasts.length()) {
            FaultState::Over
        } else {
            FaultState::On
        }
    }

    fn aims_at(&self, task: &Subject<'_>) -> bool {
        let fault = &self.fault;
        fault.service.as_deref().is_none_or(|service| service == task.service)
            && fault.colour.is_none_or(|colour| colour == task.colour)
            && fault.revision.is_none_or(|revision| revision == task.revision)
            && fault.digest.as_ref().is_none_or(|digest| task.digest == Some(digest.as_str()))
            && fault.version.as_deref().is_none_or(|version| task.version == Some(version))
    }

    /// Draws whether this one is hit, and counts it.
    fn hits(&mut self) -> bool {
        let hit = self.random.below(self.fault.share.unwrap_or(1.0));
        self.hits += u64::from(hit);
        hit
    }

    /// Draws for a task, once for its life. What was drawn holds until the fault's time is over, whatever its count says.
    fn hits_task(&mut self, task: &str) -> bool {
        if let Some(drawn) = self.drawn.get(task) {
            return *drawn;
        }
        if self.fault.count.is_some_and(|count| self.hits >= count) {
            return false;
        }
        let hit = self.hits();
        self.drawn.insert(task.to_owned(), hit);
        hit
    }

    /// Whether its time is now, as far as the clock says.
    fn is_in_time(&self) -> bool {
        let age = self.since.elapsed();
        let from = self.fault.after.map_or(Duration::ZERO, |after| after.length());
        age >= from && self.fault.lasts.is_none_or(|lasts| age < from + lasts.length())
    }

    fn delay(&mut self) -> Duration {
        let jitter = self.fault.jitter.map_or(Duration::ZERO, |jitter| jitter.length());
        self.fault.delay.map_or(Duration::ZERO, |delay| delay.length())
            + jitter.mul_f64(self.random.part())
    }

    /// Takes a token for a call; false when there is none left. `burst` is one second's worth, at least one.
    fn lets_pass(&mut self) -> bool {
        let Some(rate) = self.fault.per_second else { return false };
        let (tokens, counted) = self.tokens;
        let full = (tokens + counted.elapsed().as_secs_f64() * rate).min(rate.max(1.0));
        let passes = full >= 1.0;
        self.tokens = (if passes { full - 1.0 } else { full }, Instant::now());
        passes
    }

    fn aims_at_call(&self, service: &str, operation: &str) -> bool {
        let Some(wanted) = self.fault.operation.as_deref() else { return true };
        match wanted.split_once(':') {
            Some((of, name)) => of == service && pattern::matches(name, operation),
            None => pattern::matches(wanted, operation),
        }
    }
}

impl Board {
    /// Adds faults; one of the same name is replaced. Returns their names.
    pub(crate) fn add(&mut self, scenario: Scenario) -> Result<Vec<String>, String> {
        scenario.faults.iter().try_for_each(Fault::check)?;
        let mut names = Vec::new();
        for mut fault in scenario.faults {
            self.made += 1;
            let made = self.made;
            let kind = fault.kind;
            let name = fault.name.get_or_insert_with(|| format!("{kind}-{made}")).clone();
            self.active.retain(|other| other.fault.name.as_ref() != Some(&name));
            let (now, rate) = (Instant::now(), fault.per_second.unwrap_or(0.0));
            self.active.push(Active {
                random: Random::new(scenario.seed, &name),
                fault,
                since: now,
                hits: 0,
                drawn: HashMap::new(),
                tokens: (rate.max(1.0), now),
            });
            names.push(name);
        }
        Ok(names)
    }

    /// Takes a fault away, or all of them. Returns the names of those that are gone.
    pub(crate) fn clear(&mut self, name: Option<&str>) -> Vec<String> {
        let goes =
            |active: &Active| name.is_none_or(|name| active.fault.name.as_deref() == Some(name));
        let gone = self.active.iter().filter(|a| goes(a)).filter_map(|a| a.fault.name.clone());
        let gone = gone.collect();
        self.active.retain(|active| !goes(active));
        gone
    }

    pub(crate) fn list(&self) -> Vec<FaultStatus> {
        let status = |active: &Active| FaultStatus {
            fault: active.fault.clone(),
            state: active.state(),
            hits: active.hits,
        };
        self.active.iter().map(status).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    fn on(&mut self, kinds: &'static [Kind]) -> impl Iterator<Item = &mut Active> {
        let on = move |active: &&mut Active| {
            kinds.contains(&active.fault.kind) && active.state() == FaultState::On
        };
        self.active.iter_mut().filter(on)
    }

    /// The fault of a kind that hits a task. Drawn once for each task and fault.
    pub(crate) fn task(&mut self, kind: Kind, task: &Subject<'_>) -> Option<&Fault> {
        let fits = |a: &&mut Active| a.fault.kind == kind && a.is_in_time() && a.aims_at(task);
        let mut all = self.active.iter_mut().filter(fits);
        all.find_map(|active| active.hits_task(task.task).then_some(&active.fault))
    }

    /// Forgets what was drawn for a task that is gone.
    pub(crate) fn forget(&mut self, task: &str) {
        for active in &mut self.active {
            active.drawn.remove(task);
        }
    }

    /// For how many tasks there is room that are meant by a fault: the number, and how many of them there are already.
    pub(crate) fn room<'a>(
        &mut self,
        task: &Subject<'_>,
        present: impl Iterator<Item = Subject<'a>> + Clone,
    ) -> Option<usize> {
        let rooms = self.on(&[Kind::NoCapacity]).filter(|active| active.aims_at(task));
        let rooms = rooms.map(|active| {
            let taken = present.clone().filter(|other| active.aims_at(other)).count();
            (active.fault.tasks.unwrap_or(0) as usize).saturating_sub(taken)
        });
        rooms.min()
    }

    /// Counts a task that found no room.
    pub(crate) fn found_no_room(&mut self, task: &Subject<'_>) {
        for active in self.on(&[Kind::NoCapacity]).filter(|active| active.aims_at(task)) {
            active.hits += 1;
        }
    }

    /// What happens to a request. Health checks are hit only by faults that name their path.
    pub(crate) fn request(&mut self, task: &Subject<'_>, path: &str, check: bool) -> Meddling {
        let mut meddling = Meddling::default();
        for active in self.on(&[Kind::Latency, Kind::Errors, Kind::Reset, Kind::Hang]) {
            let named = active.fault.path.as_deref();
            let meant = named.map_or(!check, |pattern| pattern::matches(pattern, path));
            if !meant || !active.aims_at(task) || !active.hits() {
                continue;
            }
            match active.fault.kind {
                Kind::Latency => meddling.delay += active.delay(),
                Kind::Errors => {
                    let status = active.fault.status.unwrap_or(500);
                    meddling.instead.get_or_insert(Instead::Status(status));
                }
                Kind::Reset => {
                    meddling.instead.get_or_insert(Instead::Reset);
                }
                _ => {
                    meddling.instead.get_or_insert(Instead::Hang);
                }
            }
        }
        meddling
    }

    /// What happens to an AWS call.
    pub(crate) fn call(&mut self, service: &str, operation: &str) -> CallFate {
        const KINDS: &[Kind] = &[
            Kind::Throttle,
            Kind::ApiError,
            Kind::ApiHang,
            Kind::ApiLatency,
            Kind::LostAnswer,
            Kind::Lag,
        ];
        let mut fate = CallFate::default();
        let refused = |fate: &CallFate| fate.throttled || fate.error.is_some() || fate.hang;
        for active in self.on(KINDS).filter(|active| active.aims_at_call(service, operation)) {
            let kind = active.fault.kind;
            // A call that is refused already uses up no other fault.
            if refused(&fate) || (kind == Kind::Throttle && active.lets_pass()) || !active.hits() {
                continue;
            }
            match kind {
                Kind::Throttle => fate.throttled = true,
                Kind::ApiError => {
                    let status = active.fault.status.unwrap_or(500);
                    fate.error = Some((active.fault.code.clone(), status));
                }
                Kind::ApiHang => fate.hang = true,
                Kind::ApiLatency => fate.delay += active.delay(),
                Kind::LostAnswer => fate.lost = true,
                _ => fate.lag = fate.lag.max(active.delay()),
            }
        }
        fate
    }

    /// Whether a call would still hang.
    pub(crate) fn hangs(&self, service: &str, operation: &str) -> bool {
        let is_on = |a: &Active| a.fault.kind == Kind::ApiHang && a.is_in_time();
        self.active.iter().any(|a| is_on(a) && a.aims_at_call(service, operation))
    }

    /// How far AWS's clock is off.
    pub(crate) fn skew(&self) -> SignedDuration {
        let on = |a: &&Active| a.fault.kind == Kind::ClockSkew && a.state() == FaultState::On;
        let skews = self.active.iter().filter(on).filter_map(|active| active.fault.by);
        skews.fold(SignedDuration::ZERO, |sum, by| sum + by.signed())
    }

    /// The longest that a describe lags, if one does or will.
    pub(crate) fn longest_lag(&self) -> Option<Duration> {
        let lags = self.active.iter().filter(|active| active.fault.kind == Kind::Lag);
        lags.filter_map(|active| active.fault.delay).map(|delay| delay.length()).max()
    }

    pub(crate) fn is_database_down(&self) -> bool {
        let mut all = self.active.iter();
        all.any(|a| a.fault.kind == Kind::DatabaseDown && a.state() == FaultState::On)
    }

    /// Whether any fault may hit tasks that run.
    pub(crate) fn meddles_with_tasks(&self) -> bool {
        const KINDS: [Kind; 4] = [Kind::Crash, Kind::Memory, Kind::DatabaseCut, Kind::DatabaseDown];
        self.active.iter().any(|active| KINDS.contains(&active.fault.kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Span;

    fn task(id: &str) -> Subject<'_> {
        let (service, colour, version) = ("web", Colour::Green, Some("1.2.1"));
        Subject { task: id, service, colour, revision: 3, digest: None, version }
    }

    fn board(seed: u64, faults: Vec<Fault>) -> Board {
        let mut board = Board::default();
        board.add(Scenario { seed, faults }).unwrap();
        board
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        let draw = |seed| {
            let errors = Fault { share: Some(0.3), ..Fault::new(Kind::Errors) };
            let mut board = board(seed, vec![errors]);
            let hit = |_| board.request(&task("a"), "/", false).instead.is_some();
            (0..1000).map(hit).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let hits = draw(7).into_iter().filter(|hit| *hit).count();
        assert!((250..350).contains(&hits), "{hits} of 1000 at 0.3");
    }

    #[test]
    fn aims_are_kept() {
        let aimed = |set: fn(&mut Fault)| {
            let mut fault = Fault::new(Kind::Errors);
            set(&mut fault);
            board(0, vec![fault]).request(&task("a"), "/api/x", false).instead.is_some()
        };
        assert!(aimed(|f| f.service = Some("web".into())));
        assert!(!aimed(|f| f.service = Some("api".into())));
        assert!(!aimed(|f| f.colour = Some(Colour::Blue)));
        assert!(!aimed(|f| f.revision = Some(2)));
        assert!(
            !aimed(|f| f.digest = Some(format!("sha256:{}", "ab".repeat(32)).parse().unwrap()))
        );
        assert!(aimed(|f| f.version = Some("1.2.1".into())));
        assert!(!aimed(|f| f.version = Some("1.2".into())));
        assert!(aimed(|f| f.path = Some("/api/*".into())));
        assert!(!aimed(|f| f.path = Some("/health".into())));
    }

    #[test]
    fn health_checks_are_hit_by_faults_that_name_their_path() {
        let mut all = board(0, vec![Fault::new(Kind::Errors)]);
        assert_eq!(all.request(&task("a"), "/health", true), Meddling::default());
        let named = Fault { path: Some("/health".into()), ..Fault::new(Kind::Errors) };
        let seen = board(0, vec![named]).request(&task("a"), "/health", true);
        assert_eq!(seen.instead, Some(Instead::Status(500)));
    }

    #[tokio::test(start_paused = true)]
    async fn counts_and_times_end_a_fault() {
        let fault = Fault {
            count: Some(2),
            after: Some(Span::milliseconds(1000)),
            lasts: Some(Span::milliseconds(5000)),
            ..Fault::new(Kind::LostAnswer)
        };
        let mut board = board(0, vec![fault]);
        assert!(!board.call("ecs", "UpdateService").lost, "its time has not come");
        tokio::time::advance(Duration::from_secs(1)).await;
        let lost: Vec<bool> = (0..3).map(|_| board.call("ecs", "UpdateService").lost).collect();
        assert_eq!(lost, [true, true, false]);
        assert_eq!((board.list()[0].state, board.list()[0].hits), (FaultState::Over, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_lets_so_many_calls_pass_each_second() {
        let limit = Fault {
            per_second: Some(2.0),
            operation: Some("ecs:Describe*".into()),
            ..Fault::new(Kind::Throttle)
        };
        let mut board = board(0, vec![limit]);
        let mut passed = |service, operation| {
            (0..10).filter(|_| !board.call(service, operation).throttled).count()
        };
        assert_eq!(passed("ecs", "DescribeServices"), 2);
        assert_eq!(passed("ecs", "UpdateService"), 10, "it is not meant");
        assert_eq!(passed("rds", "DescribeDBInstances"), 10, "it is not meant");
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(passed("ecs", "DescribeServices"), 1);
    }

    #[test]
    fn a_task_is_drawn_once() {
        let half = Fault { share: Some(0.5), ..Fault::new(Kind::Crash) };
        let mut board = board(3, vec![half]);
        let mut hit = |id: &str| board.task(Kind::Crash, &task(id)).is_some();
        let names: Vec<String> = (0..50).map(|n| n.to_string()).collect();
        let first: Vec<bool> = names.iter().map(|name| hit(name)).collect();
        let second: Vec<bool> = names.iter().map(|name| hit(name)).collect();
        assert_eq!(first, second);
        assert!(first.contains(&true) && first.contains(&false));
    }
}
