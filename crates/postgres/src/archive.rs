//! Archives: what `pg_dump` writes in its custom format, made of an exported snapshot, read back and restored.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use secrecy::SecretString;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use crate::files::{FilesError, absolute, run_program, with_path};
use crate::programs::Programs;
use crate::run::{self, printable};

/// How much of a line outside of data is looked at.
const HEAD: usize = 16 * 1024;
/// How much of a program's complaints is kept.
const COMPLAINTS: u64 = 64 * 1024;

/// Writes the whole database, as the exported `snapshot` (`pg_export_snapshot`) sees it, to the file `to` in `pg_dump`'s custom
/// format, within a time. The file keeps its permissions if it is there.
///
/// # Errors
/// [`FilesError`] with the program's words; an incomplete file may be left then.
pub async fn dump_snapshot(
    programs: &Programs,
    url: &SecretString,
    snapshot: &str,
    to: &Path,
    within: Duration,
) -> Result<(), FilesError> {
    let place = absolute(to);
    let run = run_program(programs, "pg_dump", url, within, |command| {
        command.arg("--format=custom").arg(format!("--snapshot={snapshot}"));
        command.arg("--file").arg(&place);
    });
    run.await.map(drop).map_err(|error| with_path(error, to))
}

/// Whether a restore gives objects to their owners, with the rights that others have on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// As in the archive: the roles must be there.
    Kept,
    /// Everything belongs to who restores, and nobody else has rights.
    Dropped,
}

/// Restores an archive into an empty database, by several sessions at once, within a time. Not in one transaction, which would
/// take a lock for each object: a large schema has more of them than a server has room for.
///
/// # Errors
/// [`FilesError`] with the program's words; the database is then to be dropped.
pub async fn restore_archive(
    programs: &Programs,
    url: &SecretString,
    from: &Path,
    owners: Owners,
    within: Duration,
) -> Result<(), FilesError> {
    let place = absolute(from);
    let run = run_program(programs, "pg_restore", url, within, |command| {
        command.arg("--exit-on-error").arg(format!("--jobs={}", jobs()));
        // Whatever the caller commits next is written out with all that came before.
        command.env("PGOPTIONS", "-c synchronous_commit=off");
        if owners == Owners::Dropped {
            command.args(["--no-owner", "--no-privileges"]);
        }
        command.arg(&place);
    });
    run.await.map(drop).map_err(|error| with_path(error, from))
}

/// How many sessions restore at once.
fn jobs() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4))
}

/// Reads an archive to its end, within a time, and counts the rows of each table in it, by the table's qualified and quoted
/// name. Needs no database.
///
/// # Errors
/// [`FilesError`] with the program's words when the file is no archive, is cut off or damaged.
pub async fn count_rows(
    programs: &Programs,
    from: &Path,
    within: Duration,
) -> Result<BTreeMap<String, u64>, FilesError> {
    let failed = |reason: String| FilesError::Archive { path: from.to_owned(), reason };
    let mut command = run::command(&programs.path("pg_restore"), None);
    command.args(["--data-only", "--file=-"]).arg(absolute(from));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(failed("its output cannot be read".into()));
    };
    let reading = async {
        let mut complaints = Vec::new();
        let mut stderr = stderr.take(COMPLAINTS);
        let (rows, _) = tokio::try_join!(count(stdout), stderr.read_to_end(&mut complaints))?;
        Ok::<_, std::io::Error>((rows, complaints, child.wait().await?))
    };
    let ended = tokio::time::timeout(within, reading).await;
    let ended = ended.map_err(|_| failed(format!("not read within {} s", within.as_secs())))?;
    let (rows, complaints, status) = ended.map_err(|error| failed(error.to_string()))?;
    if status.success() {
        return Ok(rows);
    }
    let text = printable(&String::from_utf8_lossy(&complaints));
    Err(failed(if text.trim().is_empty() { status.to_string() } else { text.trim().to_owned() }))
}

async fn count(
    output: impl tokio::io::AsyncRead + Unpin,
) -> Result<BTreeMap<String, u64>, std::io::Error> {
    let mut output = BufReader::with_capacity(256 * 1024, output);
    let mut counter = Counter::default();
    loop {
        let chunk = output.fill_buf().await?;
        if chunk.is_empty() {
            return Ok(counter.rows);
        }
        let length = chunk.len();
        counter.take(chunk);
        output.consume(length);
    }
}

/// Counts the lines between `COPY … FROM stdin;` and `\.`.
#[derive(Default)]
struct Counter {
    rows: BTreeMap<String, u64>,
    /// The table whose rows are coming, and how many have come.
    table: Option<(String, u64)>,
    /// The beginning of the current line.
    head: Vec<u8>,
}

impl Counter {
    fn take(&mut self, chunk: &[u8]) {
        let mut lines = chunk.split(|byte| *byte == b'\n');
        let Some(first) = lines.next() else { return };
        self.keep(first);
        for line in lines {
            self.end_line();
            self.keep(line);
        }
    }

    fn keep(&mut self, part: &[u8]) {
        // Of a row, no more is needed than tells it from the end.
        let limit = if self.table.is_some() { 3 } else { HEAD };
        let room = limit.saturating_sub(self.head.len()).min(part.len());
        self.head.extend_from_slice(&part[..room]);
    }

    fn end_line(&mut self) {
        match &mut self.table {
            Some(_) if self.head == b"\\." => {
                let ended = self.table.take();
                self.rows.extend(ended);
            }
            Some((_, rows)) => *rows += 1,
            None => self.table = copied(&self.head).map(|name| (name, 0)),
        }
        self.head.clear();
    }
}

/// The table of `COPY public.orders (id, name) FROM stdin;`.
fn copied(line: &[u8]) -> Option<String> {
    let line = std::str::from_utf8(line).ok()?;
    let rest = line.strip_prefix("COPY ").filter(|_| line.ends_with(" FROM stdin;"))?;
    let mut quoted = false;
    let end = rest.find(|c: char| {
        quoted ^= c == '"';
        c == ' ' && !quoted
    })?;
    Some(rest[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_whatever_the_pieces_they_come_in() {
        let text = b"SET x = 1;\nCOPY public.a (id, t) FROM stdin;\n1\t\\\\.\n2\t\\N\n\\.\n\n\
            COPY \"s p\".\"b (x\" (id) FROM stdin;\n\\.\n\nCOPY public.c (t) FROM stdin;\n\n\\.\n";
        for size in [1, 2, 3, 7, 1000] {
            let mut counter = Counter::default();
            text.chunks(size).for_each(|chunk| counter.take(chunk));
            let rows: Vec<(&str, u64)> =
                counter.rows.iter().map(|(name, rows)| (name.as_str(), *rows)).collect();
            assert_eq!(rows, [("\"s p\".\"b (x\"", 0), ("public.a", 2), ("public.c", 1)], "{size}");
        }
    }
}
