//! Tampering: whatever is done to whichever entry, verifying names the first broken one.

use liftlock_ledger::{Draft, Ledger, Query, VerifyError};
use liftlock_model::{
    Actor, ArtifactHash, EntryHash, Event, Record, RunKind, Sample, StepName, Verdict,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Value, json};

use crate::place::{Place, dev, run};

#[derive(Debug, Clone, Copy)]
enum Tampering {
    /// Other content under the old hash.
    Content,
    /// Other content, and its right hash.
    ContentAndHash,
    Remove,
    Swap,
    /// The same again at the end, under a new number and with its right hash.
    Double,
    Renumber,
    Hash,
    Index,
    /// An entry at the end that follows the last one as it should, but that the ledger's head does not know.
    Forge,
    /// The last entries are gone, and the rest is whole.
    Truncate,
}

fn texts() -> impl Strategy<Value = String> {
    proptest::collection::vec(any::<char>(), 0..12).prop_map(String::from_iter)
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-(1_i64 << 53) + 1..1 << 53).prop_map(Value::from),
        texts().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(texts(), inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        (values(), texts()).prop_map(|(before, step)| Event::Journal {
            record: Record::Intended { step: StepName::new(step), before }
        }),
        (texts(), texts(), 0..1_000_u64).prop_map(|(check, detail, size)| Event::Observed {
            check,
            verdict: Verdict::Inconclusive,
            sample: Sample { size, bad: 0 },
            detail,
        }),
        proptest::option::of(texts()).prop_map(|reason| Event::RunStarted {
            kind: RunKind::Promotion,
            release: None,
            reason,
            options: vec![],
        }),
    ]
}

fn drafts() -> impl Strategy<Value = Vec<Draft>> {
    let draft = (events(), texts(), any::<bool>()).prop_map(|(event, actor, about)| Draft {
        environment: about.then(dev),
        run: about.then(run),
        actor: Actor::new(&actor),
        event,
        fence: None,
    });
    proptest::collection::vec(draft, 2..7)
}

const ALL: [Tampering; 10] = [
    Tampering::Content,
    Tampering::ContentAndHash,
    Tampering::Remove,
    Tampering::Swap,
    Tampering::Double,
    Tampering::Renumber,
    Tampering::Hash,
    Tampering::Index,
    Tampering::Forge,
    Tampering::Truncate,
];

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// What an attacker would store who knows the format.
fn body(line: &str, change: impl FnOnce(&mut Value)) -> (String, String) {
    let mut value: Value = serde_json::from_str(line).unwrap();
    value.as_object_mut().unwrap().remove("hash");
    change(&mut value);
    let body = serde_json_canonicalizer::to_string(&value).unwrap();
    let hash = ArtifactHash::of(body.as_bytes()).as_str().to_owned();
    (body, hash)
}

fn insert(sequence: i64, (body, hash): (String, String)) -> String {
    let value: Value = serde_json::from_str(&body).unwrap();
    let column = |value: &Value| value.as_str().map_or("NULL".into(), quoted);
    format!(
        "INSERT INTO liftlock_entries (sequence, hash, environment, run, kind, body) VALUES ({sequence}, '{hash}', {}, {}, {}, {})",
        column(&value["environment"]),
        column(&value["run"]),
        column(&value["event"]["kind"]),
        quoted(&body)
    )
}

/// The statements of an attack on entry `at` of `lines`, and the entry that verifying must name.
fn attack(tampering: Tampering, at: i64, lines: &[String]) -> (String, i64) {
    let line = |sequence: i64| &lines[usize::try_from(sequence - 1).unwrap()];
    let last = i64::try_from(lines.len()).unwrap();
    let eve = |value: &mut Value| value["actor"] = json!("eve, who was not there");
    let (changed, rehashed) = body(line(at), eve);
    let set = |what: String| format!("UPDATE liftlock_entries SET {what} WHERE sequence = {at}");
    match tampering {
        Tampering::Content => (set(format!("body = {}", quoted(&changed))), at),
        Tampering::ContentAndHash => (
            set(format!("body = {}, hash = '{rehashed}'", quoted(&changed))),
            if at == last { at } else { at + 1 },
        ),
        Tampering::Remove => (format!("DELETE FROM liftlock_entries WHERE sequence = {at}"), at),
        Tampering::Swap => {
            let (at, next) = if at == last { (at - 1, at) } else { (at, at + 1) };
            let sql = format!(
                "UPDATE liftlock_entries SET sequence = -1 WHERE sequence = {at}; \
                 UPDATE liftlock_entries SET sequence = {at} WHERE sequence = {next}; \
                 UPDATE liftlock_entries SET sequence = {next} WHERE sequence = -1"
            );
            (sql, at)
        }
        Tampering::Double => {
            let copy = body(line(at), |value| value["sequence"] = json!(last + 1));
            (insert(last + 1, copy), last + 1)
        }
        Tampering::Renumber => (set(format!("sequence = {}", last + 10)), at),
        Tampering::Hash => (set(format!("hash = '{}'", "f".repeat(64))), at),
        Tampering::Index => (set("environment = 'prod'".into()), at),
        Tampering::Forge => {
            let head: Value = serde_json::from_str(line(last)).unwrap();
            let forged = body(line(last), |value| {
                value["sequence"] = json!(last + 1);
                value["previous"] = head["hash"].clone();
            });
            (insert(last + 1, forged), last + 1)
        }
        Tampering::Truncate => (format!("DELETE FROM liftlock_entries WHERE sequence >= {at}"), at),
    }
}

async fn case(
    place: Place,
    drafts: Vec<Draft>,
    tampering: Tampering,
    at: i64,
) -> Result<(), TestCaseError> {
    let ledger = place.ledger().await;
    let count = i64::try_from(drafts.len()).unwrap();
    let mut head = EntryHash::genesis();
    for draft in drafts {
        let event = draft.event.clone();
        let entry = ledger.append(draft).await.unwrap();
        prop_assert_eq!(&entry.event, &event);
        prop_assert_eq!(&entry.previous, &head);
        head = entry.hash;
    }
    let verified = ledger.verify().await.unwrap();
    prop_assert_eq!((verified.entries, verified.head), (count, head));
    let lines = ledger.export(&Query::all()).await.unwrap();
    let (sql, expected) = attack(tampering, at % count + 1, &lines);
    place.attack(&sql).await;
    prop_assert_eq!(named(&ledger).await, expected);
    Ok(())
}

/// The entry that verifying names.
async fn named(ledger: &Ledger) -> i64 {
    match ledger.verify().await {
        Err(error @ VerifyError::Broken { sequence, .. }) => {
            assert!(error.to_string().contains(&format!("entry {sequence} ")), "{error}");
            sequence
        }
        other => panic!("{other:?}"),
    }
}

fn property(cases: u32, place: impl Fn() -> Option<Place>, runtime: &tokio::runtime::Runtime) {
    for tampering in ALL {
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        TestRunner::new(config)
            .run(&(drafts(), 0..100_i64), |(drafts, at)| {
                let Some(place) = place() else { return Ok(()) };
                runtime.block_on(case(place, drafts, tampering, at))
            })
            .unwrap();
    }
}

/// Shows C-AUD-6 as far as it is tamper-evident.
#[test]
fn tampering_is_named_on_sqlite() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    property(6, || Some(Place::sqlite()), &runtime);
}

/// Shows C-AUD-6 as far as it is tamper-evident.
#[test]
fn tampering_is_named_on_postgres() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    property(3, || runtime.block_on(Place::postgres()), &runtime);
}
