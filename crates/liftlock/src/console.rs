//! What people and machines read: a live list on a terminal, plain lines elsewhere, JSON lines for machines. All three are made from
//! the same notices.

mod json;
mod list;
pub(crate) mod tree;

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex};

use liftlock_promote::{Notice, Report};
use serde::Serialize;

use crate::cli::Output;
use list::List;
pub(crate) use list::seconds;

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Live,
    Plain,
    Json,
}

/// Whether lines can be written over: not in a file, in CI, or where escape codes are unwanted (`NO_COLOR`, `TERM=dumb`).
fn is_live() -> bool {
    std::io::stdout().is_terminal()
        && std::env::var_os("CI").is_none()
        && anstream::stdout().current_choice() != anstream::ColorChoice::Never
}

/// Where everything is printed.
pub(crate) struct Console {
    mode: Mode,
    invoked_as: String,
    list: Arc<Mutex<List>>,
}

impl Console {
    /// A console for this process's standard output.
    pub(crate) fn new(output: Output, invoked_as: &str) -> Self {
        let mode = match output {
            Output::Json => Mode::Json,
            Output::Plain => Mode::Plain,
            Output::Auto if is_live() => Mode::Live,
            Output::Auto => Mode::Plain,
        };
        let list = List::new(mode == Mode::Live, invoked_as);
        Self { mode, invoked_as: invoked_as.to_owned(), list: Arc::new(Mutex::new(list)) }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.mode == Mode::Json
    }

    /// Prints a run's notices as they come.
    pub(crate) fn report(&self) -> Report {
        let list = self.list.clone();
        let mode = self.mode;
        Arc::new(move |notice: Notice| {
            if mode == Mode::Json {
                json::notice(&notice);
            } else if let Ok(mut list) = list.lock() {
                list.take(&notice);
            }
        })
    }

    /// A sign of life outside of a run.
    pub(crate) fn life(&self, text: &str) {
        match self.mode {
            Mode::Json => json::line("life", &serde_json::json!({ "text": text })),
            _ => self.with_list(|list| list.life(text)),
        }
    }

    /// Says lines for people from another task; nothing in JSON.
    pub(crate) fn voice(&self) -> impl Fn(&str) + Send + use<> {
        let list = self.list.clone();
        let mode = self.mode;
        move |text| {
            if mode != Mode::Json
                && let Ok(mut list) = list.lock()
            {
                list.say(text);
            }
        }
    }

    /// A line for people; nothing in JSON.
    pub(crate) fn say(&self, text: &str) {
        if self.mode != Mode::Json {
            self.with_list(|list| list.say(text));
        }
    }

    /// A result: text for people, or one JSON line of the given kind.
    pub(crate) fn result<T: Serialize>(
        &self,
        kind: &str,
        value: &T,
        text: impl FnOnce() -> String,
    ) {
        match self.mode {
            Mode::Json => json::line(kind, value),
            _ => self.say(&text()),
        }
    }

    /// A picture that takes the place of the one before it on a terminal; elsewhere one after the other.
    pub(crate) fn picture<T: Serialize>(
        &self,
        kind: &str,
        value: &T,
        lines: impl FnOnce() -> Vec<String>,
    ) {
        match self.mode {
            Mode::Json => json::line(kind, value),
            _ => self.with_list(|list| list.picture(&lines())),
        }
    }

    /// Text that is the command's product, such as a schema: printed as it is, in every mode.
    pub(crate) fn product(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        // Nobody reads on: nothing is left to do about it.
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
    }

    /// A line for GitHub Actions, on standard error as it is.
    pub(crate) fn annotate(&self, line: &str) {
        let mut err = std::io::stderr().lock();
        // Nobody reads on: nothing is left to do about it.
        writeln!(err, "{line}").ok();
    }

    /// An error, on standard error.
    pub(crate) fn error(&self, text: &str) {
        if self.mode == Mode::Json {
            json::line("error", &serde_json::json!({ "message": text }));
        }
        self.with_list(|list| list.error(text));
    }

    /// The name that commands are advised with.
    pub(crate) fn program(&self) -> &str {
        &self.invoked_as
    }

    fn with_list(&self, with: impl FnOnce(&mut List)) {
        if let Ok(mut list) = self.list.lock() {
            with(&mut list);
        }
    }
}
