//! Rolling back, and what it must not lose.

use liftlock_migrate::{Database, DriftPolicy, Refused, Settings};
use liftlock_model::Exit;
use liftlock_testkit::TestDatabase;

use crate::support::{Files, apply, ask, connect, execute, quiet, session, settings, tables};

const A: (&str, &str, &str) = ("V0001__a", "create table a (id int)", "drop table a");
const B: (&str, &str, &str) = ("V0002__b", "create table b (id int)", "drop table b");

/// Shows C-MIG-6 and C-MIG-11: with the scripts that the database keeps; no file is needed. The rollback is on record.
#[tokio::test]
async fn migrations_are_rolled_back_newest_first() {
    let Some(database) = TestDatabase::new().await else { return };
    let files =
        Files::new(&[A, B, ("V0003__c", "create view v as select id from b", "drop view v")]);
    apply(&database, &files).await;
    let mut told = Vec::new();
    let back = connect(&database)
        .await
        .rollback(1, false, &mut |p| told.push(p.to_string()))
        .await
        .unwrap();
    assert_eq!(back.ran.iter().map(|ran| ran.id.version).collect::<Vec<_>>(), [3, 2]);
    assert_eq!(told[0], "rolling back V0003__c");
    assert_eq!(tables(&database).await, "a");
    assert_eq!(
        ask(&database, "select string_agg(version::text, ' ') from refinery_schema_history").await,
        "1"
    );
    let log = "select string_agg(action || ' ' || version || ' ' || actor, ', ' order by id) from liftlock_schema_history";
    let log = ask(&database, log).await;
    assert!(log.ends_with("apply 3 alice, rollback 3 alice, rollback 2 alice"), "{log}");
    assert_eq!(apply(&database, &files).await, [2, 3], "and they can be applied again");
}

#[tokio::test]
async fn a_version_that_is_not_there_is_told() {
    let Some(database) = TestDatabase::new().await else { return };
    apply(&database, &Files::new(&[A])).await;
    let error = connect(&database).await.rollback(7, false, &mut quiet).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no migration V0007: the newest is V0001");
    assert_eq!(error.exit(), Exit::Usage);
}

#[tokio::test]
async fn a_rollback_that_fails_leaves_everything_as_it_was() {
    let Some(database) = TestDatabase::new().await else { return };
    let files =
        Files::new(&[A, ("V0002__b", "create table b (id int)", "drop table a;\nselect nonsense")]);
    apply(&database, &files).await;
    for accept in [false, true] {
        let error = connect(&database).await.rollback(0, accept, &mut quiet).await.unwrap_err();
        assert!(
            error.to_string().contains("V0002__b.rollback.sql:2: column \"nonsense\""),
            "{error}"
        );
        assert_eq!(tables(&database).await, "a b");
    }
    // The script is mended; the next run keeps the new text, and once it is proven the way back is free.
    files.write("V0002__b.rollback.sql", "drop table b");
    let mut told = Vec::new();
    let mut liftlock = connect(&database).await;
    liftlock.apply(&files.read(), None, &mut |p| told.push(p.to_string())).await.unwrap();
    assert_eq!(told, ["V0002__b: its rollback script has changed; the new one is kept"]);
    let proven = liftlock.prove_rollbacks(&files.read(), None).await.unwrap();
    assert_eq!(proven.proofs.iter().filter(|proof| proof.problem.is_none()).count(), 2);
    assert_eq!(liftlock.rollback(0, false, &mut quiet).await.unwrap().ran.len(), 2);
}

/// One way to lose data: what is there before, the migration, what happens after it, the rollback, and what is said.
struct Loss {
    before: &'static str,
    up: &'static str,
    then: &'static str,
    rollback: &'static str,
    said: &'static [&'static str],
}

const LOSSES: &[Loss] = &[
    Loss {
        before: "",
        up: "create table t (id int)",
        then: "insert into t values (1), (2), (3)",
        rollback: "drop table t",
        said: &["table t: 3 rows"],
    },
    Loss {
        before: "create table u (id int); insert into u values (1), (2), (3)",
        up: "alter table u add nickname text",
        then: "update u set nickname = 'x' where id < 3",
        rollback: "alter table u drop nickname",
        said: &["column u.nickname: 2 values"],
    },
    Loss {
        before: "create table u (id int); insert into u values (1), (2)",
        up: "alter table u add price int not null default 5",
        then: "insert into u values (3); update u set price = 7 where id = 2",
        rollback: "alter table u drop price",
        said: &["column u.price: 1 value"],
    },
    Loss {
        before: "create table u (id int); insert into u values (1), (2)",
        up: "alter table u add at timestamptz not null default now()",
        then: "insert into u values (3)",
        rollback: "alter table u drop at",
        said: &["column u.at: 1 value"],
    },
    Loss {
        before: "create table u (id int); insert into u values (1), (2)",
        up: "select 1",
        then: "",
        rollback: "delete from u where id = 2",
        said: &["table u: 1 row"],
    },
    Loss {
        before: "create table u (id int); insert into u values (1), (2)",
        up: "select 1",
        then: "",
        rollback: "truncate u",
        said: &["table u: 2 rows"],
    },
    Loss {
        before: "create table u (id int, v text, w text); insert into u values (1, 'a', 'b')",
        up: "select 1",
        then: "",
        rollback: "update u set v = 'z'",
        said: &["column u.v: values that it changes"],
    },
    Loss {
        before: "create table u (id int, v numeric); insert into u values (1, 1.5)",
        up: "select 1",
        then: "",
        rollback: "alter table u alter v type int",
        said: &["column u.v: values that it changes"],
    },
    Loss {
        before: "create table p (id int primary key); create table q (p int references p on delete cascade);
                 insert into p values (1); insert into q values (1), (1)",
        up: "select 1",
        then: "",
        rollback: "delete from p",
        said: &["table p: 1 row", "table q: 2 rows"],
    },
    Loss {
        before: "create table u (id int); insert into u values (1)",
        up: "alter table u rename to w",
        then: "",
        rollback: "create table u as select * from w; drop table w",
        said: &["table w: 1 row"],
    },
    Loss {
        before: "create schema s; create table s.\"Odd Name\" (id int, \"the value\" json);
                 insert into s.\"Odd Name\" values (1, '{}')",
        up: "select 1",
        then: "",
        rollback: "alter table s.\"Odd Name\" drop \"the value\"",
        said: &["column s.\"Odd Name\".\"the value\": 1 value"],
    },
    Loss {
        before: "create table u (id int, at date) partition by range (at);
                 create table u1 partition of u for values from ('2026-01-01') to ('2027-01-01');
                 insert into u values (1, '2026-05-05')",
        up: "select 1",
        then: "",
        rollback: "drop table u",
        said: &["table u1: 1 row"],
    },
];

/// Shows C-MIG-6 and W-3: each form of loss is refused with exactly what would be lost, and nothing changes; accepted, it is done.
#[tokio::test]
async fn data_is_not_lost_unless_that_is_accepted() {
    for loss in LOSSES {
        let Some(database) = TestDatabase::new().await else { return };
        let mut other = session(database.url()).await;
        execute(&mut other, loss.before).await;
        apply(&database, &Files::new(&[("V0001__x", loss.up, loss.rollback)])).await;
        execute(&mut other, loss.then).await;
        let content = "select string_agg(query_to_xml('select * from ' || oid::regclass, true, false, '')::text, ' ' order by relname)
                       from pg_class where relkind = 'r' and relname !~ '^liftlock_schema_(run|snapshot)' and relnamespace in (select oid from pg_namespace where nspname in ('public', 's'))";
        let before = ask(&database, content).await;

        let back = connect(&database).await.rollback(0, false, &mut quiet).await.unwrap();
        assert_eq!(back.ran, [], "{}", loss.rollback);
        let Some(Refused { id, losses, .. }) = back.refused else { panic!("{}", loss.rollback) };
        assert_eq!(
            (id.version, losses.as_slice()),
            (1, loss.said.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>().as_slice())
        );
        assert_eq!(ask(&database, content).await, before, "{}", loss.rollback);

        let back = connect(&database).await.rollback(0, true, &mut quiet).await.unwrap();
        assert_eq!((back.ran.len(), back.refused), (1, None), "{}", loss.rollback);
        assert_ne!(ask(&database, content).await, before, "{}", loss.rollback);
    }
}

/// What looks like a loss and is none.
#[tokio::test]
async fn what_loses_nothing_is_not_refused() {
    for (before, up, then, rollback) in [
        ("", "create table t (id int)", "insert into t values (1); delete from t", "drop table t"),
        (
            "create table u (id int); insert into u values (1)",
            "alter table u add n text",
            "",
            "alter table u drop n",
        ),
        (
            "create table u (id int); insert into u values (1)",
            "alter table u add n int not null default 5",
            "insert into u values (2), (3)",
            "alter table u drop n",
        ),
        (
            "create table u (id int); insert into u values (1)",
            "alter table u add n text default 'it''s'",
            "alter table u alter n drop default; insert into u values (2)",
            "alter table u drop n",
        ),
        (
            "create table u (id int); insert into u values (1)",
            "alter table u add twice int generated always as (id * 2) stored",
            "",
            "alter table u drop twice",
        ),
        (
            "create table u (id int); insert into u values (1)",
            "alter table u alter id type bigint",
            "insert into u values (2)",
            "alter table u alter id type int",
        ),
        (
            "create table u (id int, v text); insert into u values (1, 'a')",
            "alter table u rename v to w",
            "",
            "alter table u rename w to v; update u set v = v",
        ),
        (
            "create table u (id int); insert into u values (1)",
            "alter table u rename to w; create view u as select * from w",
            "",
            "drop view u; alter table w rename to u; create index on u (id); cluster u using u_id_idx",
        ),
    ] {
        let Some(database) = TestDatabase::new().await else { return };
        let mut other = session(database.url()).await;
        execute(&mut other, before).await;
        apply(&database, &Files::new(&[("V0001__x", up, rollback)])).await;
        execute(&mut other, then).await;
        let ours = Settings { drift: DriftPolicy::Ignore, ..settings() };
        let mut ours = Database::connect(database.url(), ours).await.unwrap();
        let back = ours.rollback(0, false, &mut quiet).await.unwrap();
        assert_eq!((back.ran.len(), back.refused), (1, None), "{rollback}");
    }
}

/// The newest goes, the one that would lose data stays, and so does what is before it.
#[tokio::test]
async fn a_refusal_leaves_that_migration_and_all_before_it() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[A, B, ("V0003__c", "create table c (id int)", "drop table c")]);
    apply(&database, &files).await;
    execute(&mut session(database.url()).await, "insert into b values (1)").await;
    let back = connect(&database).await.rollback(0, false, &mut quiet).await.unwrap();
    assert_eq!(back.ran.iter().map(|ran| ran.id.version).collect::<Vec<_>>(), [3]);
    assert_eq!(back.refused.unwrap().id.version, 2);
    assert_eq!(tables(&database).await, "a b");
}

/// Twenty times somebody writes while the rollback is at work: either the write came first and the rollback is refused,
/// or the table was gone first and the write failed. Never is a row lost that somebody was told is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_is_written_meanwhile_is_never_lost() {
    for _ in 0..20 {
        let Some(database) = TestDatabase::new().await else { return };
        apply(&database, &Files::new(&[("V0001__t", "create table t (id int)", "drop table t")]))
            .await;
        let mut liftlock = connect(&database).await;
        let mut writer = session(database.url()).await;
        let mut nobody = quiet;
        let (written, back) = tokio::join!(
            sqlx::raw_sql("insert into t values (1)").execute(&mut writer),
            liftlock.rollback(0, false, &mut nobody)
        );
        match (written, back.unwrap().refused) {
            (Ok(_), Some(refused)) => assert_eq!(refused.losses, ["table t: 1 row"]),
            (Err(error), None) => assert!(error.to_string().contains("does not exist"), "{error}"),
            (written, refused) => panic!("{written:?} {refused:?}"),
        }
    }
}

/// Where the server does not count what a transaction deletes, every table is looked at.
#[tokio::test]
async fn a_loss_is_seen_without_the_servers_counters() {
    let Some(database) = TestDatabase::new().await else { return };
    let mut other = session(database.url()).await;
    let setup = format!(
        "alter database {} set track_counts = off; create table u (id int); insert into u values (1), (2)",
        database.name()
    );
    for statement in setup.split(';') {
        execute(&mut other, statement).await;
    }
    apply(&database, &Files::new(&[("V0001__x", "select 1", "delete from u")])).await;
    let back = connect(&database).await.rollback(0, false, &mut quiet).await.unwrap();
    assert_eq!(back.refused.unwrap().losses, ["table u: 2 rows"]);
}
