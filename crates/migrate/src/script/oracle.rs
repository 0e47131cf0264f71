//! PostgreSQL itself is asked whether a look at a script sees what the server sees: how many statements there are, and none that
//! ends the transaction.

use liftlock_testkit::TestDatabase;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use secrecy::ExposeSecret as _;
use sqlx::{AssertSqlSafe, Connection as _, Either, PgConnection};

use super::inspect;

/// Pieces that texts are put together from: what opens, closes or hides a string, a comment or a statement.
const PIECES: &[&str] = &[
    "select 1",
    "select",
    "1",
    "'",
    "''",
    "\\",
    "\\'",
    "E'",
    "e'",
    "U&'",
    "N'",
    "B'",
    "$$",
    "$a$",
    "$1",
    "$",
    "a",
    "€",
    "\u{a0}",
    "--",
    "/*",
    "*/",
    "\n",
    "\r",
    "\t",
    " ",
    "\"",
    "\"\"",
    ";",
    "; commit;",
    "commit",
    ";rollback;",
    ";begin;",
    " as ",
    ",",
    "+",
    "-",
    "/",
    "*",
    "::text",
    "(",
    ")",
    "case when true then 1 end",
    "'x'\n'y'",
    "E'x'\n'y\\'",
    "$é$",
    "x$$",
    "é$a$",
    "0",
    ".5",
    "@",
    "~",
];

fn pieces() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PIECES), 1..14).prop_map(|all| all.concat())
}

/// A text that is likely to be SQL: selections of hostile strings, with hostile comments between them.
fn selections() -> impl Strategy<Value = String> {
    let inside = || {
        let nasty = ["; commit; ", "--", "/*", "*/", "\n", "\\", "$", "a", "€", " ", "\"", "x"];
        prop::collection::vec(prop::sample::select(nasty.to_vec()), 0..6)
            .prop_map(|all| all.concat())
    };
    let plain = inside().prop_map(|text| format!("'{text}'"));
    let escaped = inside().prop_map(|text| format!("E'{}'", text.replace('\\', "\\\\'")));
    let continued = (inside(), inside()).prop_map(|(one, two)| {
        let two = two.replace('\\', "\\'");
        format!("e'{}'  \n\t'{two}'", one.replace('\\', "\\\\"))
    });
    let dollar = inside().prop_map(|text| format!("$q${text}$q$"));
    let name = inside().prop_map(|text| format!("1 as \"n{text}\""));
    let odd = prop::sample::select(vec!["1 as €$$", "1 as x$$", "1 as \u{a0}", "$1$ $1$", "1"]);
    let value = prop_oneof![plain, escaped, continued, dollar, name, odd.prop_map(str::to_owned)];
    let gap = prop_oneof![
        Just(";".to_owned()),
        Just(";;\n".to_owned()),
        inside().prop_map(|text| format!("-- {}\n;", text.replace('\n', " "))),
        inside().prop_map(|text| format!("/* {} */;", text.replace("*/", "").replace("/*", ""))),
        Just("; commit; ".to_owned()),
    ];
    let one = (value, gap).prop_map(|(value, gap)| format!("select {value}{gap}"));
    prop::collection::vec(one, 1..5).prop_map(|all| all.concat())
}

/// What the server makes of a text inside a transaction: how many statements it ran, if it ran to its end, and whether the
/// transaction is still the same.
async fn judge(connection: &mut PgConnection, sql: &str) -> (Option<usize>, bool) {
    use futures_util::TryStreamExt as _;
    let number =
        "begin; create temporary table mark () on commit drop; select pg_current_xact_id()::text";
    let before: String = sqlx::raw_sql(number).fetch_one(&mut *connection).await.unwrap_text();
    let mut count = 0;
    let ran = async {
        let mut results = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_many(&mut *connection);
        while let Some(result) = results.try_next().await? {
            count += usize::from(matches!(result, Either::Left(_)));
        }
        Ok::<(), sqlx::Error>(())
    };
    let ran = ran.await.is_ok();
    // After an error inside the transaction every query fails until it is rolled back.
    let now: Result<Option<String>, sqlx::Error> =
        sqlx::query_scalar("select pg_current_xact_id_if_assigned()::text")
            .fetch_one(&mut *connection)
            .await;
    let same = match now {
        Ok(now) => now.as_deref() == Some(before.as_str()),
        Err(error) => error.to_string().contains("current transaction is aborted"),
    };
    sqlx::raw_sql("rollback").execute(&mut *connection).await.ok();
    (ran.then_some(count), same)
}

trait Text {
    fn unwrap_text(self) -> String;
}

impl Text for Result<sqlx::postgres::PgRow, sqlx::Error> {
    fn unwrap_text(self) -> String {
        use sqlx::Row as _;
        self.unwrap().get(0)
    }
}

/// Texts that pass the look cannot end their transaction, and have as many statements as the server says. `LIFTLOCK_CASES`
/// says how many are tried.
#[test]
fn postgres_sees_what_the_look_sees() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let Some(database) = runtime.block_on(TestDatabase::new()) else { return };
    let connect = PgConnection::connect(database.url().expose_secret());
    let connection = std::cell::RefCell::new(runtime.block_on(connect).unwrap());
    let cases = std::env::var("LIFTLOCK_CASES").ok().and_then(|text| text.parse().ok());
    let config =
        Config { cases: cases.unwrap_or(400), failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&prop_oneof![pieces(), selections()], |sql| {
            let seen = inspect(&sql);
            if !seen.problems.is_empty() {
                return Ok(());
            }
            let judged = runtime.block_on(judge(&mut connection.borrow_mut(), &sql));
            let (count, same) = judged;
            prop_assert!(same, "it ended the transaction: {sql:?}");
            if let Some(count) = count {
                prop_assert_eq!(count, seen.statements.len(), "statements of {:?}", sql);
            }
            // Each statement alone is what it was in the text.
            for statement in &seen.statements {
                let alone = inspect(&sql[statement.range.clone()]);
                prop_assert_eq!(alone.statements.len(), 1, "{:?} of {:?}", statement, sql);
            }
            Ok(())
        })
        .unwrap();
}
