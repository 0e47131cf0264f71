//! Verdicts on rollbacks, and on what the running version can live with.

use liftlock_migrate::{Again, DryRun, Severity, Verdict};
use liftlock_model::Exit;
use liftlock_testkit::TestDatabase;

use crate::support::{Files, apply, connect};

const A: (&str, &str, &str) = (
    "V0001__a",
    "create table a (id int primary key, x text, y int, w int); create table old_one (id int); create view v as select id from a",
    "drop view v; drop table a, old_one",
);

async fn tried(database: &TestDatabase, migrations: &[(&str, &str, &str)]) -> DryRun {
    let all: Vec<_> = std::iter::once(A).chain(migrations.iter().copied()).collect();
    connect(database).await.dry_run(&Files::new(&all).read()).await.unwrap()
}

fn rules(run: &DryRun) -> Vec<(&str, &str, usize)> {
    let errors = run.findings.iter().filter(|finding| finding.severity == Severity::Error);
    errors.map(|finding| (finding.rule.as_str(), finding.file.as_str(), finding.line)).collect()
}

/// Shows C-MIG-4 and C-MIG-5: a rollback is judged by what it does, object by object, and a wrong one is an error.
#[tokio::test]
async fn rollbacks_are_judged_by_what_they_do() {
    let Some(database) = TestDatabase::new().await else { return };
    apply(&database, &Files::new(&[A])).await;
    let run = tried(
        &database,
        &[
            ("V0002__exact", "create index i on a (x)", "drop index i"),
            ("V0003__order", "-- migrate: phase contract\nalter table a drop y", "alter table a add y int"),
            ("V0004__nothing", "-- migrate: phase contract\ncreate index j on a (x)", "select 'nothing'"),
            ("V0005__refuses", "-- migrate: phase contract\nselect 1;\nalter table a add z int", "do $$ begin raise exception 'never back'; end $$"),
            ("V0006__broken", "-- migrate: phase contract\ncreate table t (id int)", "select 1;\ndrop table nonsense"),
            ("V0007__leaves", "-- migrate: phase contract\ncreate sequence s; create function f() returns int language sql return 1", "drop function f"),
            ("V0008__rows", "-- migrate: phase contract\ninsert into old_one values (1)", "delete from old_one where id = 2"),
            ("V0009__empty", "-- migrate: phase contract\nselect 1", "select 1"),
        ],
    )
    .await;
    let [exact, order, nothing, refuses, broken, leaves, rows, empty] = &run.migrations[..] else {
        panic!("{run}")
    };
    assert_eq!((&exact.rollback, &exact.again), (&Verdict::Exact, &Again::Same), "{run}");
    assert!(
        matches!(order.rollback, Verdict::ColumnOrder { .. }) && order.again == Again::Same,
        "{run}"
    );
    assert_eq!(nothing.rollback, Verdict::DoesNothing, "{run}");
    assert!(
        matches!(&refuses.rollback, Verdict::Refuses { message } if message.contains("never back")),
        "{run}"
    );
    assert!(
        matches!(&broken.rollback, Verdict::CannotRun { message } if message.contains("V0006__broken.rollback.sql:2")),
        "{run}"
    );
    let Verdict::Leaves { objects, difference } = &leaves.rollback else { panic!("{run}") };
    assert_eq!(objects, &["sequence public.s (added)"], "{run}");
    assert!(difference.contains("sequence public.s"), "{run}");
    assert!(matches!(leaves.again, Again::Fails { .. }), "{run}");
    assert_eq!((&rows.rollback, &empty.rollback), (&Verdict::Exact, &Verdict::Exact), "{run}");
    let left = run.findings.iter().find(|finding| finding.rule == "rollback-leaves-rows").unwrap();
    assert!(left.message.contains("old_one: +1") && left.severity == Severity::Warning, "{run}");

    let not_exact: Vec<&str> = rules(&run)
        .iter()
        .filter(|(rule, ..)| *rule == "rollback-not-exact")
        .map(|(_, file, _)| *file)
        .collect();
    let expected = ["V0004__nothing", "V0005__refuses", "V0006__broken", "V0007__leaves"];
    assert_eq!(not_exact, expected.map(|stem| format!("{stem}.rollback.sql")), "{run}");
    assert_eq!((run.exit(), run.is_clean()), (Exit::Failed, false));
}

/// Shows E-MIG-1: what the running version relies on may not go before the rollout, and may after it; a reason allows it.
#[tokio::test]
async fn what_the_running_version_relies_on_stays_until_the_contract_phase() {
    let Some(database) = TestDatabase::new().await else { return };
    apply(&database, &Files::new(&[A])).await;
    let up = "alter table a add column fine text;
alter table a drop column x;
alter table old_one rename to new_one;
alter table a alter column y set not null;
create table mine (id int); alter table mine rename to ours; drop table ours;
drop view v; create view v as select id, y from a;
alter table a add column must int not null;
alter table a add constraint positive check (y > 0)";
    let down = "alter table a drop constraint positive; alter table a drop must; drop view v;
                create view v as select id from a; alter table a alter column y drop not null; alter table new_one rename to old_one;
                alter table a add column x text; alter table a drop column fine";
    let run = tried(&database, &[("V0002__b", up, down)]).await;
    let file = "V0002__b.sql";
    let breaks = |line| ("breaks-running-version", file, line);
    assert_eq!(rules(&run), [breaks(2), breaks(3), breaks(4), breaks(7)], "{run}");
    let messages: Vec<&str> = run
        .findings
        .iter()
        .filter(|one| one.severity == Severity::Error)
        .map(|one| one.message.as_str())
        .collect();
    assert_eq!(
        (messages[0], messages[1]),
        ("column a.x is dropped", "table old_one is renamed to new_one")
    );
    assert!(
        run.findings.iter().any(|one| one.rule == "binds-running-version" && one.line == 8),
        "{run}"
    );

    let contract = format!("-- migrate: phase contract\n{up}");
    let run = tried(&database, &[("V0002__b", &contract, down)]).await;
    assert_eq!(rules(&run), [], "{run}");

    let reason =
        "-- migrate: allow breaks-running-version nobody reads it\nalter table a drop column x";
    let run = tried(&database, &[("V0002__b", reason, "alter table a add column x text")]).await;
    assert!(run.is_clean(), "{run}");
    assert!(
        run.findings
            .iter()
            .any(|one| one.message == "column a.x is dropped (allowed: nobody reads it)"),
        "{run}"
    );
}

/// Shows E-MIG-1: a stand-in is as good as the table, what the same release made is nobody's, and phases run in the files' order.
#[tokio::test]
async fn a_stand_in_is_fine_and_contract_migrations_come_last() {
    let Some(database) = TestDatabase::new().await else { return };
    apply(&database, &Files::new(&[A])).await;
    let run = tried(
        &database,
        &[
            (
                "V0002__b",
                "alter table old_one rename to new_one; create view old_one as select * from new_one; create table n (id int, z int)",
                "drop table n; drop view old_one; alter table new_one rename to old_one",
            ),
            ("V0003__c", "alter table n drop column z", "alter table n add column z int"),
            ("V0004__d", "-- migrate: phase contract\ndrop view old_one", "create view old_one as select * from new_one"),
            ("V0005__e", "select 1", "select 1"),
        ],
    )
    .await;
    assert_eq!(rules(&run), [("contract-before-expand", "V0005__e.sql", 1)], "{run}");
}

/// Shows C-MIG-4: what a rollback takes away beside its own is seen, also where no row of a table says so, and so are other names.
#[tokio::test]
async fn rollbacks_are_judged_on_tables_that_were_there() {
    let Some(database) = TestDatabase::new().await else { return };
    let base = (
        "V0001__a",
        "create table a (id int primary key, x text); create table b (id int, a int references a (id));
         create type mood as enum ('sad', 'fine'); create view v as select id, 'sad'::mood as m from a; create schema s;
         create table s.p (id int) partition by range (id); create table s.q partition of s.p for values from (0) to (9);
         create function f() returns trigger language plpgsql as 'begin return new; end';
         create trigger t before insert on b for each row execute function f(); create policy o on b using (true);
         create rule r as on delete to b do nothing; create statistics st on id, a from b; create sequence n owned by b.id;
         create table nothing (); create table heir () inherits (nothing)",
        "select 1",
    );
    let taken = [
        ("drop trigger t on b", "trigger t on public.b (removed)"),
        ("drop policy o on b", "policy o on public.b (removed)"),
        ("drop rule r on b", "rule r on public.b (removed)"),
        ("drop statistics st", "statistics public.st (removed)"),
        ("alter table b drop constraint b_a_fkey", "constraint b_a_fkey on public.b (removed)"),
        ("alter sequence n owned by none", "sequence public.n (changed)"),
        ("alter table heir no inherit nothing", "table public.heir (changed)"),
    ];
    let other = [
        ("alter table a rename to z", "alter table z rename to a"),
        ("alter table a rename id to z", "alter table a rename z to id"),
        ("alter schema s rename to z", "alter schema z rename to s"),
        (
            "alter type mood rename value 'sad' to 'low'",
            "alter type mood rename value 'low' to 'sad'",
        ),
        (
            "alter table s.p detach partition s.q",
            "alter table s.p attach partition s.q for values from (0) to (9)",
        ),
        (
            "create unique index i on b (id); alter table b add constraint u unique using index i",
            "alter table b drop constraint u",
        ),
        (
            "comment on column b.a is 'x'; grant select on b to public",
            "comment on column b.a is null; revoke select on b from public",
        ),
        ("create type pair as (x int, y int); alter type pair drop attribute y", "drop type pair"),
    ];
    apply(&database, &Files::new(&[base])).await;
    for (sql, expected) in taken {
        let down = format!("drop table w; {sql}");
        let files = Files::new(&[base, ("V0002__w", "create table w (id int)", &down)]);
        let run = connect(&database).await.dry_run(&files.read()).await.unwrap();
        let Verdict::Leaves { objects, .. } = &run.migrations[0].rollback else {
            panic!("{sql}: {run}")
        };
        assert_eq!(objects, &[expected], "{run}");
    }
    for (up, down) in other {
        let files = Files::new(&[base, ("V0002__other", up, down)]);
        let run = connect(&database).await.dry_run(&files.read()).await.unwrap();
        assert_eq!(run.migrations[0].rollback, Verdict::Exact, "{up}: {run}");
    }
}
