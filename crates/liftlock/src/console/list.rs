//! The list of steps for people: each step's end on a line of its own; on a terminal, the present step below them.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use liftlock_model::{Entry, Event, Record, RunKind, StepName, Verdict};
use liftlock_promote::Notice;

/// Plain logs get a sign of life of a waiting step this often: CI systems end jobs that say nothing.
const SILENCE: Duration = Duration::from_secs(20);

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const BACK: Style = AnsiColor::Yellow.on_default();
const FAINT: Style = Style::new().dimmed();

pub(super) struct List {
    live: bool,
    invoked_as: String,
    begun: BTreeMap<StepName, Timestamp>,
    spoke: Instant,
    /// Whether a line is on the terminal that the next output overwrites.
    pending: bool,
    /// How many lines of a picture stand on the terminal, which the next one takes the place of.
    drawn: usize,
}

/// What a rollout waits for, and what ends the waiting.
fn paused(share: u8, at_most: Option<u64>, environment: &str) -> String {
    let most = match at_most {
        Some(limit) => format!(", for {} at most", seconds(Duration::from_secs(limit))),
        None => String::new(),
    };
    format!(
        "waits with {share} % of the traffic on the new version{most}\nnext: liftlock rollout resume --env {environment}\n  \
         or: liftlock rollout abort --env {environment} --reason TEXT"
    )
}

impl List {
    pub(super) fn new(live: bool, invoked_as: &str) -> Self {
        let invoked_as = invoked_as.to_owned();
        Self {
            live,
            invoked_as,
            begun: BTreeMap::new(),
            spoke: Instant::now(),
            pending: false,
            drawn: 0,
        }
    }

    pub(super) fn take(&mut self, notice: &Notice) {
        match notice {
            Notice::Entry(entry) => self.entry(entry),
            Notice::Life { step, text } => self.life(&format!("{step}  {text}")),
        }
    }

    pub(super) fn say(&mut self, text: &str) {
        let text = self.advise(text);
        self.print(&text);
    }

    pub(super) fn error(&mut self, text: &str) {
        self.clear();
        let text = self.advise(text);
        // Errors in files come with the word, which their excerpts hang on.
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        let mut err = anstream::stderr().lock();
        writeln!(err, "{BAD}error{BAD:#}: {text}").and_then(|()| err.flush()).ok();
    }

    pub(super) fn life(&mut self, text: &str) {
        if self.live {
            self.clear();
            let width = terminal_width();
            let text: String =
                text.replace('\n', " ").chars().take(width.saturating_sub(6)).collect();
            let mut out = anstream::stdout().lock();
            write!(out, "  {FAINT}… {text}{FAINT:#}").and_then(|()| out.flush()).ok();
            self.pending = true;
        } else if self.spoke.elapsed() >= SILENCE {
            self.print(&format!("  … {text}"));
        }
    }

    pub(super) fn picture(&mut self, lines: &[String]) {
        if !self.live {
            return self.print(&lines.join("\n"));
        }
        let (width, height) = (terminal_width(), terminal_height());
        let mut shown: Vec<String> =
            lines.iter().take(height - 1).map(|line| line.chars().take(width).collect()).collect();
        if lines.len() > shown.len() {
            // More than the terminal holds could not be taken back.
            let more = lines.len() - shown.len() + 1;
            shown.pop();
            shown.push(format!("… {more} more lines"));
        }
        let mut out = anstream::stdout().lock();
        let up = match self.drawn {
            0 => String::new(),
            lines => format!("\r\u{1b}[{lines}A\u{1b}[J"),
        };
        writeln!(out, "{up}{}", shown.join("\n")).and_then(|()| out.flush()).ok();
        self.drawn = shown.len();
    }

    fn entry(&mut self, entry: &Entry) {
        match &entry.event {
            Event::RunStarted { kind, release, .. } => {
                let what = match kind {
                    RunKind::Rollback => "rolling back to",
                    RunKind::Promotion => "promoting",
                    RunKind::Infrastructure => "applying infrastructure",
                    RunKind::Migration => "migrating",
                };
                let release = release.as_ref().map(ToString::to_string).unwrap_or_default();
                let environment =
                    entry.environment.as_ref().map(ToString::to_string).unwrap_or_default();
                let run = entry.run.as_ref().map(ToString::to_string).unwrap_or_default();
                self.print(&format!("{what} {release} in {environment}  {FAINT}{run}{FAINT:#}"));
            }
            Event::RunResumed { .. } => {
                let run = entry.run.as_ref().map(ToString::to_string).unwrap_or_default();
                self.print(&format!("going on with {run}"));
            }
            Event::GateEvaluated { gate, verdict, reason } => {
                let (mark, style) = match verdict {
                    Verdict::Pass => ("✓", GOOD),
                    Verdict::Fail => ("✗", BAD),
                    Verdict::Inconclusive => ("…", BACK),
                };
                self.line(style, mark, &format!("gate/{gate}"), reason, None);
            }
            Event::RolloutPaused { step, share, at_most } => {
                let environment = entry.environment.as_ref().map(ToString::to_string);
                let text = paused(*share, *at_most, &environment.unwrap_or_default());
                self.line(BACK, "‖", step.as_str(), &text, None);
            }
            Event::Journal { record } => self.record(record, entry.at),
            Event::IncidentOpened { summary } => self.line(BACK, "!", "incident", summary, None),
            Event::Notified { channel, error: Some(error) } => {
                self.line(
                    BACK,
                    "!",
                    &format!("notify/{channel}"),
                    &format!("could not be told: {error}"),
                    None,
                );
            }
            Event::LeaseTakenOver { from, .. } => {
                self.line(
                    BACK,
                    "!",
                    "lease",
                    &format!("taken over from {from}, which ran out"),
                    None,
                );
            }
            _ => {}
        }
    }

    fn record(&mut self, record: &Record, at: Timestamp) {
        match record {
            Record::Intended { step, .. } | Record::UndoIntended { step } => {
                self.begun.insert(step.clone(), at);
                if self.live {
                    self.life(step.as_str());
                }
            }
            Record::Done { step, note, .. } => {
                let took = self.took(step, at);
                self.line(GOOD, "✓", step.as_str(), note, took);
            }
            Record::Failed { step, error } => {
                let took = self.took(step, at);
                self.line(BAD, "✗", step.as_str(), error, took);
            }
            Record::Undone { step, note, left } => {
                let took = self.took(step, at);
                // What only looked needs no line of its own when it is passed on the way back.
                if note != "only looked" || !left.is_empty() {
                    self.line(BACK, "↶", step.as_str(), note, took);
                }
            }
            Record::UndoFailed { step, error } => {
                let took = self.took(step, at);
                self.line(BAD, "✗", &format!("undo {step}"), error, took);
            }
            Record::Planned { .. } | Record::Finished { .. } => {}
        }
    }

    fn took(&mut self, step: &StepName, at: Timestamp) -> Option<Duration> {
        self.begun.remove(step).and_then(|begun| Duration::try_from(at.duration_since(begun)).ok())
    }

    fn line(&mut self, style: Style, mark: &str, step: &str, text: &str, took: Option<Duration>) {
        let text = self.advise(text).replace('\n', "\n      ");
        let took = match took {
            Some(took) if took >= Duration::from_millis(100) => {
                format!("  {FAINT}{}{FAINT:#}", seconds(took))
            }
            _ => String::new(),
        };
        self.print(&format!("  {style}{mark}{style:#} {step:<31} {text}{took}"));
    }

    fn print(&mut self, text: &str) {
        self.clear();
        let mut out = anstream::stdout().lock();
        // Nobody reads on: the run goes on all the same.
        writeln!(out, "{text}").and_then(|()| out.flush()).ok();
        self.spoke = Instant::now();
    }

    fn clear(&mut self) {
        if self.pending {
            let mut out = anstream::stdout().lock();
            write!(out, "\r\u{1b}[2K").and_then(|()| out.flush()).ok();
            self.pending = false;
        }
    }

    /// Commands are advised by the name that this process was started with.
    fn advise(&self, text: &str) -> String {
        if self.invoked_as == "liftlock" {
            return text.to_owned();
        }
        text.replace("liftlock: ", "\u{0}")
            .replace("`liftlock ", &format!("`{} ", self.invoked_as))
            .replace("next: liftlock ", &format!("next: {} ", self.invoked_as))
            .replace('\u{0}', "liftlock: ")
    }
}

/// A length of time for people.
pub(crate) fn seconds(duration: Duration) -> String {
    match duration.as_secs() {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        s => format!("{} min {} s", s / 60, s % 60),
    }
}

fn terminal_height() -> usize {
    rustix::termios::tcgetwinsize(std::io::stdout())
        .map_or(40, |size| usize::from(size.ws_row).max(4))
}

fn terminal_width() -> usize {
    rustix::termios::tcgetwinsize(std::io::stdout())
        .map_or(100, |size| usize::from(size.ws_col).max(20))
}
