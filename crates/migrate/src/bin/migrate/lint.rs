//! What the command line may say about the rules.

use clap::Args;
use liftlock_migrate::LintSettings;
use liftlock_migrate::commands::{Failed, version};

#[derive(Debug, Args)]
pub(crate) struct LintOptions {
    /// How much a rule's findings matter: off, note, warning or error; may be repeated
    #[arg(long = "lint-rule", global = true, value_name = "RULE=LEVEL")]
    lint_rules: Vec<String>,
    /// Tables with fewer rows are small: what is said of their locks and scans is a note
    #[arg(long, global = true, default_value_t = LintSettings::default().small_table_rows, value_name = "ROWS")]
    small_table_rows: u64,
    /// Leaves migrations before this one, such as V0041, to themselves
    #[arg(long, global = true, value_name = "VERSION", value_parser = version)]
    lint_ignore_before: Option<i32>,
}

impl LintOptions {
    pub(crate) fn settings(&self) -> Result<LintSettings, Failed> {
        let mut settings = LintSettings::default();
        settings.small_table_rows = self.small_table_rows;
        settings.ignore_before = self.lint_ignore_before;
        for said in &self.lint_rules {
            let wrong = |why: &str| Failed::usage(format!("--lint-rule {said}: {why}"));
            let (rule, level) = said
                .split_once('=')
                .ok_or_else(|| wrong("expected RULE=LEVEL, such as ban-drop-column=error"))?;
            settings.set(rule, level).map_err(|why| wrong(&why))?;
        }
        Ok(settings)
    }
}
