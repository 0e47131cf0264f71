//! Appending: order, concurrency, fences and what a killed writer leaves behind.

use std::collections::BTreeSet;

use jiff::Timestamp;
use liftlock_ledger::{AppendError, Ledger, Query};
use liftlock_model::{EntryHash, Event, Record, StepName};
use serde_json::json;

use crate::place::{Place, ann, dev, draft, note, on_both, run};

on_both! {
    entries_say_who_when_where_and_what,
    queries_select,
    subscribers_see_entries_in_order,
    many_writers_leave_no_gap_and_no_double,
    numbers_that_json_cannot_keep_are_refused,
    the_database_itself_refuses_changes,
    a_writer_that_nobody_waits_for_is_whole,
}

/// Shows C-AUD-1 and C-AUD-2: time, who, where and what are kept as they were given.
async fn entries_say_who_when_where_and_what(place: Place) {
    let ledger = place.ledger().await;
    let before = Timestamp::now();
    let id = run();
    let release = "rel-0123456789ab".parse().unwrap();
    let comment = Some("für \u{1d11e} \"gut\" befunden\n\u{0}".to_owned());
    let event = Event::Approved { release, comment };
    let mut given = draft(event.clone());
    given.run = Some(id.clone());
    let entry = ledger.append(given).await.unwrap();
    assert_eq!(entry.sequence, 1);
    assert_eq!(entry.previous, EntryHash::genesis());
    let second = jiff::SignedDuration::from_secs(1);
    assert!(entry.at >= before - second && entry.at <= Timestamp::now() + second, "{}", entry.at);
    assert_eq!(entry.at.subsec_nanosecond() % 1000, 0, "to the microsecond");
    assert_eq!((entry.environment.as_ref(), entry.run.as_ref()), (Some(&dev()), Some(&id)));
    assert_eq!((&entry.actor, &entry.event), (&ann(), &event));

    let reopened = place.ledger().await;
    assert_eq!(reopened.entries(&Query::all()).await.unwrap(), vec![entry.clone()]);
    let next = reopened.append(note("next")).await.unwrap();
    assert_eq!((next.sequence, next.previous), (2, entry.hash));
}

async fn queries_select(place: Place) {
    let ledger = place.ledger().await;
    let id = run();
    for index in 1..=6 {
        let mut draft = note(&index.to_string());
        draft.environment = Some(if index % 2 == 0 { dev() } else { "prod".parse().unwrap() });
        draft.run = (index > 3).then(|| id.clone());
        ledger.append(draft).await.unwrap();
    }
    let found = async |query: Query| -> Vec<i64> {
        ledger.entries(&query).await.unwrap().iter().map(|entry| entry.sequence).collect()
    };
    assert_eq!(found(Query::all()).await, [1, 2, 3, 4, 5, 6]);
    assert_eq!(found(Query::all().environment(&dev())).await, [2, 4, 6]);
    assert_eq!(found(Query::all().run(&id)).await, [4, 5, 6]);
    assert_eq!(found(Query::all().run(&id).environment(&dev())).await, [4, 6]);
    assert_eq!(found(Query::all().after(2).limit(2)).await, [3, 4]);
}

async fn subscribers_see_entries_in_order(place: Place) {
    let ledger = place.ledger().await;
    let mut receiver = ledger.subscribe();
    let writers = (0..4).map(|_| {
        let ledger = ledger.clone();
        tokio::spawn(async move {
            for _ in 0..5 {
                ledger.append(note("x")).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    for expected in 1..=20 {
        assert_eq!(receiver.recv().await.unwrap().sequence, expected);
    }
}

/// Shows C-AUD-6 as far as it is append-only: 2 and 10 writers, sharing a ledger or each with one of its own.
async fn many_writers_leave_no_gap_and_no_double(place: Place) {
    let mut expected = 0;
    for writers in [2, 10] {
        let shared = place.ledger().await;
        let mut tasks = Vec::new();
        for writer in 0..writers {
            let ledger = if writer % 2 == 0 { shared.clone() } else { place.ledger().await };
            tasks.push(tokio::spawn(append_some(ledger, writer)));
        }
        let mut all = BTreeSet::new();
        for task in tasks {
            all.extend(task.await.unwrap());
        }
        let first = expected + 1;
        expected += writers * 8;
        assert_eq!(all, (first..=expected).collect());
        assert_eq!(shared.verify().await.unwrap().entries, expected);
    }
}

async fn append_some(ledger: Ledger, writer: i64) -> Vec<i64> {
    let mut sequences = Vec::new();
    for index in 0..8 {
        let entry = ledger.append(note(&format!("{writer}/{index}"))).await.unwrap();
        sequences.push(entry.sequence);
    }
    assert!(sequences.is_sorted());
    sequences
}

async fn numbers_that_json_cannot_keep_are_refused(place: Place) {
    let ledger = place.ledger().await;
    for (before, fine) in [
        (json!({"weights": [1, 0.5]}), false),
        (json!({"weights": [1, 9_007_199_254_740_992_u64]}), false),
        (json!({"weights": [1, -9_007_199_254_740_992_i64]}), false),
        (json!({"weights": [1, 9_007_199_254_740_991_u64, -5]}), true),
    ] {
        let record = Record::Intended { step: StepName::new("shift"), before };
        match ledger.append(draft(Event::Journal { record })).await {
            Ok(_) => assert!(fine),
            Err(AppendError::Number { pointer }) => {
                assert_eq!(pointer, "/data/record/before/weights/1");
                assert!(!fine);
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(ledger.verify().await.unwrap().entries, 1);
}

/// Shows C-AUD-6 as far as it is append-only: even past the ledger.
async fn the_database_itself_refuses_changes(place: Place) {
    let ledger = place.ledger().await;
    ledger.append(note("kept")).await.unwrap();
    ledger.put_artifact(b"kept").await.unwrap();
    for sql in [
        "UPDATE liftlock_entries SET kind = 'x'",
        "DELETE FROM liftlock_entries",
        "UPDATE liftlock_artifacts SET hash = 'x'",
        "DELETE FROM liftlock_artifacts",
    ] {
        let error = place.sql(sql).await.unwrap_err().to_string();
        assert!(error.contains("append-only"), "{sql}: {error}");
    }
    ledger.verify().await.unwrap();
}

/// A caller that is cancelled while it waits leaves the entry whole, and subscribers hear of it.
async fn a_writer_that_nobody_waits_for_is_whole(place: Place) {
    let ledger = place.ledger().await;
    let mut receiver = ledger.subscribe();
    tokio::select! {
        biased;
        _ = ledger.append(note("abandoned")) => {}
        () = tokio::task::yield_now() => {}
    }
    assert_eq!(receiver.recv().await.unwrap().sequence, 1);
    assert_eq!(ledger.verify().await.unwrap().entries, 1);
}
