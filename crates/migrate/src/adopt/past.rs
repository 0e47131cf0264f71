//! What another tool's history says, against its files. Pure, save for the query.

use jiff::Timestamp;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::source::Source;
use super::tool::Tool;
use super::versioned::{same_version, version_of};

/// A row of another tool's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) key: Option<String>,
    pub(crate) checksum: Option<String>,
    pub(crate) at: Option<Timestamp>,
    pub(crate) by: Option<String>,
    pub(crate) milliseconds: Option<i64>,
    pub(crate) ok: bool,
    /// flyway's type of row; refinery's name.
    pub(crate) kind: String,
}

/// That a migration is applied, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Done {
    /// Its place among the source's migrations.
    pub(crate) index: usize,
    pub(crate) at: Option<Timestamp>,
    pub(crate) by: Option<String>,
    pub(crate) milliseconds: Option<i64>,
    /// flyway's baseline: it was counted as applied.
    pub(crate) covered: bool,
}

/// The rows, in the order in which things were done; none if there is no such table.
pub(crate) async fn rows(
    connection: &mut PgConnection,
    tool: Tool,
    table: &str,
    project: &str,
) -> Result<Option<Vec<Row>>, sqlx::Error> {
    let quoted: Vec<String> =
        table.split('.').map(|part| format!("\"{}\"", part.replace('"', "\"\""))).collect();
    let quoted = quoted.join(".");
    let there: bool = sqlx::query_scalar("select to_regclass($1) is not null")
        .bind(&quoted)
        .fetch_one(&mut *connection)
        .await?;
    if !there {
        return Ok(None);
    }
    let query = sqlx::query(AssertSqlSafe(tool.history(&quoted)));
    let rows = query.bind(project).fetch_all(connection).await?;
    rows.iter().map(read).collect::<Result<_, _>>().map(Some)
}

fn read(row: &sqlx::postgres::PgRow) -> Result<Row, sqlx::Error> {
    let at = row.try_get::<Option<i64>, _>("at")?.map(Timestamp::from_microsecond).transpose();
    Ok(Row {
        key: row.try_get("key")?,
        checksum: row.try_get("checksum")?,
        at: at.map_err(|error| sqlx::Error::Decode(error.into()))?,
        by: row.try_get("by")?,
        milliseconds: row.try_get("ms")?,
        ok: row.try_get("ok")?,
        kind: row.try_get("kind")?,
    })
}

/// Which migrations are applied, in the order of the files; every reason why that cannot be said, else.
pub(crate) fn compare(tool: Tool, source: &Source, rows: &[Row]) -> Result<Vec<Done>, Vec<String>> {
    let mut problems = Vec::new();
    let mut done: Vec<Done> = Vec::new();
    for row in rows {
        let Some(key) = &row.key else { continue };
        if !row.ok {
            let state = if tool == Tool::GolangMigrate { "dirty" } else { "failed" };
            problems.push(format!(
                "row {key} is {state}: put the database right and let {} say so, then run this again",
                tool.as_str()
            ));
            continue;
        }
        let same = |other: &str| {
            if tool == Tool::Flyway { same_version(other, key) } else { other == key }
        };
        let index = source.migrations.iter().position(|one| same(&one.key));
        match (tool, row.kind.as_str(), index) {
            (Tool::GolangMigrate, _, Some(index)) => {
                done.extend((0..=index).map(|index| seen(index, row, false)))
            }
            (Tool::Flyway, "SCHEMA", _) => {}
            (Tool::Flyway, "UNDO_SQL" | "DELETE", Some(index)) => {
                done.retain(|one| one.index != index)
            }
            (Tool::Flyway, "UNDO_SQL" | "DELETE", None) => {}
            (Tool::Flyway, "BASELINE", _) => {
                let upto = version_of(key);
                let below = source.migrations.iter().take_while(|one| version_of(&one.key) <= upto);
                done.extend(below.enumerate().map(|(index, _)| seen(index, row, true)));
            }
            (_, _, None) => problems.push(format!(
                "row {key} is applied, and no file is there for it: put the file back"
            )),
            (_, _, Some(index)) => {
                let kept = &source.migrations[index];
                // A tool that keeps no checksum for one row (flyway's Java, sqitch's missing script) has nothing to compare.
                match (&row.checksum, &kept.checksum) {
                    (Some(one), Some(other)) if one != other => problems.push(format!(
                        "row {key} has the checksum {one}, and {} has {other}: it has changed since it was applied; put it \
                         back as it was",
                        kept.up.file
                    )),
                    _ => done.push(seen(index, row, false)),
                }
            }
        }
    }
    done.sort_by_key(|one| one.index);
    done.dedup_by_key(|one| one.index);
    if problems.is_empty() {
        problems.extend(gaps(tool, source, &done));
    }
    if problems.is_empty() { Ok(done) } else { Err(problems) }
}

fn seen(index: usize, row: &Row, covered: bool) -> Done {
    Done { index, at: row.at, by: row.by.clone(), milliseconds: row.milliseconds, covered }
}

/// Migrations that are not applied, before one that is.
fn gaps(tool: Tool, source: &Source, done: &[Done]) -> Vec<String> {
    let Some(last) = done.last() else { return Vec::new() };
    let missing = (0..last.index).filter(|index| !done.iter().any(|one| one.index == *index));
    let newest = &source.migrations[last.index].up.file;
    missing
        .map(|index| {
            format!(
                "{} is not applied, and {newest} after it is: apply it with {} first, so that all databases have one order",
                source.migrations[index].up.file,
                tool.as_str()
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adopt::source::{Foreign, Text};

    fn source(keys: &[&str]) -> Source {
        let one = |key: &&str| Foreign {
            key: (*key).to_owned(),
            title: "x".into(),
            up: Text::new(&format!("{key}.sql"), b"select 1"),
            down: None,
            verify: None,
            checksum: Some("1".into()),
        };
        Source { migrations: keys.iter().map(one).collect(), ..Source::default() }
    }

    fn row(key: &str, kind: &str) -> Row {
        let (checksum, kind) = (Some("1".to_owned()), kind.to_owned());
        Row {
            key: Some(key.into()),
            checksum,
            at: None,
            by: None,
            milliseconds: None,
            ok: true,
            kind,
        }
    }

    fn applied(tool: Tool, rows: &[Row]) -> Result<Vec<usize>, Vec<String>> {
        let done = compare(tool, &source(&["1", "1.1", "2", "10"]), rows)?;
        Ok(done.iter().map(|one| one.index).collect())
    }

    #[test]
    fn flyways_rows_are_read_as_flyway_reads_them() {
        let tool = Tool::Flyway;
        let null = Row { key: None, ..row("", "SQL") };
        assert_eq!(applied(tool, &[null, row("1", "SQL"), row("1.1", "SQL")]), Ok(vec![0, 1]));
        assert_eq!(
            applied(tool, &[row("1.0", "SQL"), row("1.1", "SQL"), row("1.1", "UNDO_SQL")]),
            Ok(vec![0])
        );
        assert_eq!(applied(tool, &[row("2", "BASELINE"), row("10", "SQL")]), Ok(vec![0, 1, 2, 3]));
        assert_eq!(applied(tool, &[row("0", "BASELINE"), row("1", "SQL")]), Ok(vec![0]));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (rows, expected) in [
            (vec![row("3", "")], "row 3 is applied, and no file"),
            (vec![Row { ok: false, ..row("1", "") }], "row 1 is failed"),
            (
                vec![Row { checksum: Some("2".into()), ..row("1", "") }],
                "row 1 has the checksum 2, and 1.sql has 1",
            ),
            (vec![row("1", ""), row("2", "")], "1.1.sql is not applied, and 2.sql after it is"),
        ] {
            let problems = applied(Tool::Sqlx, &rows).unwrap_err();
            assert!(problems[0].contains(expected), "{problems:?}");
        }
        assert_eq!(applied(Tool::GolangMigrate, &[row("2", "")]), Ok(vec![0, 1, 2]));
        let dirty = Row { ok: false, ..row("2", "") };
        assert!(applied(Tool::GolangMigrate, &[dirty]).unwrap_err()[0].contains("dirty"));
    }
}
