//! Snapshots brought back: beside the live database, in its place, and after a `kill -9` half way.

use std::path::Path;
use std::process::Stdio;

use liftlock_migrate::snapshot::Dump;
use liftlock_testkit::TestDatabase;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{AssertSqlSafe, Connection as _};

use crate::program::{ends, migrate};
use crate::support::{Files, ask, connect, execute, session};

/// A live database on a server that it shares with other tests, its snapshot `good`, and what happened to it since.
struct Shop {
    database: TestDatabase,
    directory: tempfile::TempDir,
}

const ROWS: &str = "create table orders (id int primary key, total numeric);
    insert into orders select n, n * 1.1 from generate_series(1, 300) n";

impl Shop {
    async fn new(sql: &str) -> Option<Self> {
        let database = TestDatabase::new().await?;
        let directory = tempfile::tempdir().unwrap();
        execute(&mut session(database.url()).await, sql).await;
        let dump = Dump { id: Some("good".into()), ..Dump::into(directory.path()) };
        connect(&database).await.dump(&dump).await.unwrap();
        execute(&mut session(database.url()).await, "delete from orders where id > 10").await;
        Some(Self { database, directory })
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let files = Files::new(&[]);
        let directory = self.directory.path().to_str().unwrap();
        let arguments = [&["restore"], arguments, &["--snapshots", directory]].concat();
        migrate(&self.database, &files, &arguments)
    }

    fn restore(&self, arguments: &[&str]) -> (i32, String, String) {
        ends(self.command(arguments))
    }

    fn replace(&self, more: &[&str]) -> (i32, String, String) {
        self.restore(
            &[&["good", "--replace", "--yes-replace", self.database.name()], more].concat(),
        )
    }

    /// The databases that restores made of this one.
    async fn others(&self) -> Vec<String> {
        let mut session = session(self.database.url()).await;
        let names =
            "select datname::text from pg_database where datname like $1 || '\\_%' order by 1";
        sqlx::query_scalar(names).bind(self.database.name()).fetch_all(&mut session).await.unwrap()
    }

    fn url_of(&self, name: &str) -> SecretString {
        let url = self.database.url().expose_secret();
        let (server, _) = url.rsplit_once('/').unwrap();
        format!("{server}/{name}").into()
    }

    async fn ask_in(&self, name: &str, sql: &str) -> String {
        let mut session = session(&self.url_of(name)).await;
        let sql = format!("select ({sql})::text");
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut session).await.unwrap()
    }
}

/// The clock is part of names: two restores of one second would meet.
async fn next_second() {
    let second = || jiff::Timestamp::now().as_second();
    let now = second();
    while second() == now {
        tokio::task::yield_now().await;
    }
}

/// Shows C-MIG-8, C-RB-2: the last good state comes back beside the live database, compared, and the live one is not touched.
#[tokio::test]
async fn a_snapshot_comes_back_beside_the_live_database() {
    let Some(shop) = Shop::new(ROWS).await else { return };
    let (code, out, err) = shop.restore(&["good"]);
    assert!(
        code == 0 && out.contains("snapshot good is good: restored and compared"),
        "{out}{err}"
    );
    assert!(out.contains("the live database was not touched"), "{out}");
    let others = shop.others().await;
    assert_eq!(others.len(), 1, "{others:?}");
    assert_eq!(shop.ask_in(&others[0], "select count(*) from orders").await, "300");
    assert_eq!(ask(&shop.database, "select count(*) from orders").await, "10");

    let name = format!("{}_mine", shop.database.name());
    let (code, out, err) = shop.restore(&["good", "--into", &name]);
    assert!(code == 0 && out.contains(&format!("it is in database {name} on ")), "{out}{err}");
    assert!(
        out.contains(&format!("note: database {} is there, restored from good", others[0])),
        "{out}"
    );
    let (code, _, err) = shop.restore(&["good", "--into", &name]);
    assert!(code == 2 && err.contains("is there already on"), "{err}");
    let (code, _, err) = shop.restore(&["better"]);
    assert!(code == 2 && err.contains("there is no snapshot better in"), "{err}");
}

/// Shows C-RB-2: put in the live one's place, with its owner, rights and settings; the database as it was before is kept.
#[tokio::test]
async fn a_snapshot_takes_the_live_databases_place() {
    let Some(shop) = Shop::new(ROWS).await else { return };
    let name = shop.database.name();
    let dressed = format!(
        "create role owner_{name}; alter database {name} owner to owner_{name};
         create role reader_{name}; revoke connect on database {name} from public;
         grant connect on database {name} to reader_{name};
         alter database {name} set search_path = \"$user\", public, extra;
         alter database {name} set app.colour = 'it''s blue';
         alter role reader_{name} in database {name} set statement_timeout = '7s';
         comment on database {name} is 'the shop'"
    );
    execute(&mut session(shop.database.url()).await, &dressed).await;
    let dress = format!(
        "select concat_ws(' ', pg_get_userbyid(datdba), shobj_description(d.oid, 'pg_database'),
             (select string_agg(a::text, ' ' order by a::text) from unnest(datacl) a),
             (select string_agg(concat(setrole::regrole, ' ', c), ' ' order by setrole, c)
              from pg_db_role_setting, unnest(setconfig) c where setdatabase = d.oid))
         from pg_database d where datname = '{name}'"
    );
    let before = ask(&shop.database, &dress).await;
    let (code, out, err) = shop.replace(&[]);
    assert!(code == 0 && out.contains("what it was before is database"), "{out}{err}");
    assert_eq!(ask(&shop.database, "select count(*) from orders").await, "300");
    assert_eq!(ask(&shop.database, &dress).await, before);
    let others = shop.others().await;
    assert_eq!(others.len(), 1, "{others:?}");
    assert!(others[0].contains("_before_restore_"), "{others:?}");
    assert_eq!(shop.ask_in(&others[0], "select count(*) from orders").await, "10");

    // Asked again, as by somebody who does not know whether the first call ended: nothing more is done.
    let (code, out, _) = shop.replace(&[]);
    assert!(code == 0 && out.contains("snapshot good was put in the place of"), "{out}");
    assert_eq!(shop.others().await, others);
    next_second().await;
    let (code, _, err) = shop.replace(&["--again"]);
    assert_eq!((code, shop.others().await.len()), (0, 2), "{err}");
}

#[tokio::test]
async fn the_live_database_is_replaced_only_where_its_name_was_typed() {
    let Some(shop) = Shop::new(ROWS).await else { return };
    let (code, _, err) = shop.restore(&["good", "--replace"]);
    assert!(code == 2 && err.contains("--yes-replace"), "{err}");
    let (code, _, err) = shop.restore(&["good", "--replace", "--yes-replace", "shop"]);
    assert!(code == 2 && err.contains("--yes-replace test_"), "{err}");
    assert_eq!(shop.others().await, Vec::<String>::new());
}

/// Others are told, not ended, unless that was asked for; and the work is not done twice.
#[tokio::test]
async fn sessions_of_others_are_ended_only_when_told_to() {
    let Some(shop) = Shop::new(ROWS).await else { return };
    let mut other = session(shop.database.url()).await;
    execute(&mut other, "set application_name = 'the shop itself'").await;
    let (code, _, err) = shop.replace(&[]);
    assert!(
        code == 4 && err.contains("the shop itself") && err.contains("--terminate-sessions"),
        "{err}"
    );
    assert_eq!(ask(&shop.database, "select count(*) from orders").await, "10");
    other.ping().await.unwrap();
    let restored = shop.others().await;

    let (code, out, err) = shop.replace(&["--terminate-sessions"]);
    assert!(
        code == 0 && err.contains(&format!("database {} is there from before", restored[0])),
        "{out}{err}"
    );
    assert!(other.ping().await.is_err());
    assert_eq!(ask(&shop.database, "select count(*) from orders").await, "300");
    assert_eq!(shop.others().await.len(), 1);
}

/// The restored copy was changed before it took the live one's place: it is not what was saved any more.
#[tokio::test]
async fn a_restored_copy_that_was_changed_is_not_used() {
    let Some(shop) = Shop::new(ROWS).await else { return };
    let (code, ..) = shop.restore(&["good"]);
    assert_eq!(code, 0);
    let copy = shop.others().await.remove(0);
    execute(&mut session(&shop.url_of(&copy)).await, "update orders set total = 0 where id = 5")
        .await;
    next_second().await;
    let (code, out, err) = shop.replace(&[]);
    assert!(code == 0, "{out}{err}");
    assert_eq!(ask(&shop.database, "select total from orders where id = 5").await, "5.5");
    assert!(shop.others().await.contains(&copy));
}

/// Killed with SIGKILL while `pg_restore` is at work, the same command removes what is half done and goes on; the live database is as
/// it was all the time.
#[tokio::test]
async fn killed_half_way_it_is_run_again() {
    // Making the index waits for a lock that this test holds: a place to be killed at.
    let slow = format!(
        "{ROWS}; create table gate_keys (id int);
         create function slowly(int) returns int language plpgsql immutable as
           $$ begin perform pg_advisory_lock_shared(77); perform pg_advisory_unlock_shared(77); return $1; end $$;
         create index slow on orders (slowly(id))"
    );
    let Some(shop) = Shop::new(&slow).await else { return };
    let mut command = shop.command(&["good", "--replace", "--yes-replace", shop.database.name()]);
    // Advisory locks are of one database: the new one's name is known once it is there.
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let half = loop {
        if let Some(name) = shop.others().await.pop() {
            break name;
        }
    };
    let mut gate = loop {
        if let Ok(connection) =
            sqlx::PgConnection::connect(shop.url_of(&half).expose_secret()).await
        {
            break connection;
        }
    };
    execute(&mut gate, "select pg_advisory_lock(77)").await;
    let waits =
        "select count(*) from pg_locks where locktype = 'advisory' and objid = 77 and not granted";
    while shop.ask_in(&half, waits).await == "0" {}
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(ask(&shop.database, "select count(*) from orders").await, "10");
    assert_eq!(shop.others().await, std::slice::from_ref(&half));

    next_second().await;
    let (code, out, err) = shop.replace(&[]);
    assert!(
        code == 0 && err.contains(&format!("removing database {half}, which an interrupted")),
        "{out}{err}"
    );
    assert_eq!(ask(&shop.database, "select count(*) from orders").await, "300");
    let others = shop.others().await;
    assert!(others.len() == 1 && others[0].contains("_before_restore_"), "{others:?}");
}

/// A live database that was dropped comes back under its name.
#[tokio::test]
async fn a_database_that_is_gone_comes_back() {
    let Some(shop) = Shop::new(ROWS).await else { return };
    let name = shop.database.name();
    let mut admin = session(&shop.url_of("postgres")).await;
    execute(&mut admin, &format!("drop database {name} with (force)")).await;
    let (code, out, err) = shop.replace(&[]);
    assert!(code == 0 && out.contains("there is no database"), "{out}{err}");
    assert_eq!(ask(&shop.database, "select count(*) from orders").await, "300");
}

/// What stands in the way is said, with the next step.
#[tokio::test]
async fn who_may_not_or_whose_archive_is_damaged_is_told() {
    let Some(shop) = Shop::new(ROWS).await else { return };
    let name = shop.database.name();
    let role = format!("create role plain_{name} login password 'plain'");
    execute(&mut session(shop.database.url()).await, &role).await;
    let url = shop.database.url().expose_secret();
    let (_, place) = url.rsplit_once('@').unwrap();
    let mut command = shop.command(&["good"]);
    command.env("DATABASE_URL", format!("postgres://plain_{name}:plain@{place}"));
    let (code, _, err) = ends(command);
    assert!(code == 2 && err.contains(&format!("`alter role \"plain_{name}\" createdb`")), "{err}");

    let archive = shop.directory.path().join("good.dump");
    truncate(&archive);
    let (code, _, err) = shop.restore(&["good"]);
    assert!(
        code == 1 && err.contains("snapshot good is damaged, so nothing was restored"),
        "{err}"
    );
    assert_eq!(shop.others().await, Vec::<String>::new());
}

fn truncate(path: &Path) {
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
}
