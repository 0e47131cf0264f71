//! The transaction of most migrations, in two messages: begin and script; records and commit. A migration is often quicker than the
//! way to the server and back.

use std::time::Instant;

use liftlock_model::MigrationId;

use crate::failure::Failure;
use crate::files::Script;
use crate::progress::On;
use crate::transaction::Workbench;

/// A script that is longer is not looked through.
const LONGEST: usize = 64 * 1024;
/// Every way to end a transaction, or to drop a prepared statement, begins with one of these words, written out.
const WORDS: [&str; 7] = ["commit", "rollback", "end", "abort", "prepare", "deallocate", "discard"];

/// Whether a script is one that can neither end its transaction nor drop what is prepared: none of [`WORDS`] stands anywhere in it.
/// Then it needs no guard, and nobody has to look after it whether the transaction is still the same.
pub(crate) fn is_plain(script: &Script) -> bool {
    let word = |word: &str| WORDS.iter().any(|one| one.eq_ignore_ascii_case(word));
    let sign = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    script.sql.len() <= LONGEST && !script.sql.split(sign).any(word)
}

impl Workbench<'_> {
    /// Begins a transaction and runs a plain script in it. Gives when that began.
    pub(crate) async fn begin_with(
        &mut self,
        id: &MigrationId,
        script: &Script,
        on: On<'_>,
    ) -> Result<Instant, Failure> {
        let start = Instant::now();
        let lead = format!("{}; ", self.opening());
        self.run_after(&lead, start, (id, script), on).await?;
        Ok(start)
    }

    /// Takes back whatever the script set for its session, writes `records`, and commits. Gives the first value that they give.
    pub(crate) async fn end_with(
        &mut self,
        id: &MigrationId,
        file: &str,
        records: &str,
    ) -> Result<String, Failure> {
        if !records.is_ascii() {
            // The script may have changed how the server reads such text.
            self.execute(self.restore()).await?;
        }
        self.end(format!("{}; {records}; commit", self.restore()), id, file).await
    }

    /// Prepares a statement for the session.
    pub(crate) async fn prepare(&mut self, sql: &str) -> Result<(), Failure> {
        self.execute(sql).await?;
        self.own.prepared = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_plain_where_no_such_word_stands() {
        let plain = |sql: &str| is_plain(&Script::kept("V0001__x.sql".into(), sql.into()));
        assert!(plain("create table calendar (sender text, committed_at date, the_end int)"));
        for sql in [
            "select 1; COMMIT",
            "do $$ begin null; end $$",
            "select 1;/**/Rollback/**/",
            "select 1;\u{a0}abort",
            "select 'to the end'",
            "deallocate all",
        ] {
            assert!(!plain(sql), "{sql}");
        }
        assert!(!plain(&format!("-- {}", "x".repeat(LONGEST))), "not looked through");
    }
}
