//! Leases: one holder, takeover after expiry, and a fence for whoever comes late.

use std::time::Duration;

use liftlock_ledger::{AcquireError, AppendError, Heart, Lease, LeaseError, Ledger, Query};
use liftlock_model::{Actor, Event, RunId};

use crate::place::{Place, ann, dev, note, on_both, run};

const LONG: Duration = Duration::from_secs(60);
/// A lease that has run out by the time that anybody looks.
const OVER: Duration = Duration::ZERO;

on_both! {
    a_lease_is_held_by_one_run,
    of_runs_that_acquire_at_once_exactly_one_does,
    an_expired_lease_is_taken_over_and_its_holder_fenced_off,
    a_resumed_run_waits_for_its_former_process,
    the_heart_keeps_the_lease,
    the_heart_tells_that_the_lease_is_lost,
}

async fn take(ledger: &Ledger, run: &RunId, ttl: Duration) -> Result<Lease, AcquireError> {
    ledger.acquire(&dev(), run, &ann(), ttl).await
}

async fn a_lease_is_held_by_one_run(place: Place) {
    let ledger = place.ledger().await;
    let (one, two) = (run(), run());
    assert_eq!(ledger.holder(&dev()).await.unwrap(), None);
    let lease = take(&ledger, &one, LONG).await.unwrap();
    assert_eq!(ledger.holder(&dev()).await.unwrap().as_ref(), Some(&lease));
    let error = take(&place.ledger().await, &two, LONG).await.unwrap_err();
    match &error {
        AcquireError::Held { run, actor, since, expires, .. } => {
            assert_eq!((run, actor), (&one, &ann()));
            assert_eq!((since, expires), (&lease.since, &lease.expires));
        }
        other => panic!("{other}"),
    }
    for word in ["dev is held by", one.as_str(), "ann", "liftlock status --env dev"] {
        assert!(error.to_string().contains(word), "{error}");
    }
    ledger.acquire(&"prod".parse().unwrap(), &two, &ann(), LONG).await.unwrap();

    let renewed = ledger.renew(&lease).await.unwrap();
    assert!(renewed.expires > lease.expires && renewed.token == lease.token);
    ledger.release(&renewed).await.unwrap();
    assert!(matches!(ledger.release(&renewed).await, Err(LeaseError::Lost { by: None, .. })));
    assert_eq!(ledger.holder(&dev()).await.unwrap(), None);
    let next = take(&ledger, &two, LONG).await.unwrap();
    assert!(next.token > lease.token, "a token is never given twice");
    assert!(ledger.entries(&Query::all()).await.unwrap().is_empty(), "nothing was taken over");
}

/// Also for a lease that ran out.
async fn of_runs_that_acquire_at_once_exactly_one_does(place: Place) {
    for first in [true, false] {
        if !first {
            let held = place.ledger().await.holder(&dev()).await.unwrap().unwrap();
            let ledger = place.ledger().await;
            ledger.release(&held).await.unwrap();
            take(&ledger, &run(), OVER).await.unwrap();
        }
        let mut tasks = Vec::new();
        for _ in 0..6 {
            let ledger = place.ledger().await;
            tasks.push(tokio::spawn(async move { take(&ledger, &run(), LONG).await }));
        }
        let mut won = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(_) => won += 1,
                Err(AcquireError::Held { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(won, 1);
    }
}

async fn an_expired_lease_is_taken_over_and_its_holder_fenced_off(place: Place) {
    let ledger = place.ledger().await;
    let (one, two) = (run(), run());
    let old = take(&ledger, &one, OVER).await.unwrap();
    let mut fenced = note("late");
    fenced.fence = Some(old.fence());
    ledger.append(fenced.clone()).await.expect("nobody else took it yet");

    let mut receiver = ledger.subscribe();
    let other = place.ledger().await;
    let bob = Actor::new("bob");
    let new = ledger.acquire(&dev(), &two, &bob, LONG).await.unwrap();
    assert_eq!(new.token, old.token + 1);
    let told = receiver.recv().await.unwrap();
    assert_eq!(told.event, Event::LeaseTakenOver { from: one.clone(), token: new.token });
    assert_eq!((told.run.as_ref(), &told.actor), (Some(&two), &bob));

    let error = other.append(fenced).await.unwrap_err();
    assert!(matches!(&error, AppendError::Fenced { by: Some((run, _)), .. } if *run == two));
    assert!(error.to_string().contains(&format!("{two} of bob took it over")), "{error}");
    let lost = |error| matches!(error, LeaseError::Lost { by: Some((run, _)), .. } if run == two);
    assert!(lost(other.renew(&old).await.unwrap_err()));
    assert!(lost(other.release(&old).await.unwrap_err()));
    let mut fine = note("in time");
    fine.fence = Some(new.fence());
    ledger.append(fine).await.unwrap();
    ledger.release(&new).await.unwrap();
    let mut after = note("after the end");
    after.fence = Some(new.fence());
    assert!(matches!(ledger.append(after).await, Err(AppendError::Fenced { by: None, .. })));
    assert_eq!(ledger.verify().await.unwrap().entries, 3);
}

async fn a_resumed_run_waits_for_its_former_process(place: Place) {
    let ledger = place.ledger().await;
    let one = run();
    let lease = take(&ledger, &one, LONG).await.unwrap();
    assert!(matches!(take(&ledger, &one, LONG).await, Err(AcquireError::Held { .. })));
    ledger.release(&lease).await.unwrap();
    let lease = take(&ledger, &one, OVER).await.unwrap();
    let again = take(&ledger, &one, LONG).await.unwrap();
    assert_eq!(again.token, lease.token + 1, "its former process is fenced off");
    assert!(ledger.renew(&lease).await.is_err());
    assert!(ledger.entries(&Query::all()).await.unwrap().is_empty());
}

async fn the_heart_keeps_the_lease(place: Place) {
    let ledger = place.ledger().await;
    let lease = take(&ledger, &run(), Duration::from_secs(2)).await.unwrap();
    let heart = Heart::start(&ledger, lease.clone());
    let late = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let now = ledger.holder(&dev()).await.unwrap().unwrap();
        if now.expires > lease.expires {
            break;
        }
        assert!(tokio::time::Instant::now() < late, "it does not beat");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    heart.stop().await;
    ledger.release(&lease).await.unwrap();
}

async fn the_heart_tells_that_the_lease_is_lost(place: Place) {
    let ledger = place.ledger().await;
    let lease = take(&ledger, &run(), OVER).await.unwrap();
    let thief = run();
    take(&ledger, &thief, LONG).await.unwrap();
    let lease = Lease { ttl: Duration::from_secs(1), ..lease };
    let heart = Heart::start(&ledger, lease);
    let why = tokio::time::timeout(Duration::from_secs(20), heart.lost()).await.unwrap();
    assert!(why.contains(thief.as_str()), "{why}");
    heart.stop().await;
}
