//! `approve` and `reject`.

use liftlock_environment::Config;
use liftlock_ledger::{Draft, projection};
use liftlock_model::{Event, Exit};

use crate::cli::Judge;
use crate::commands::Top;
use crate::connect;
use crate::console::Console;
use crate::failure::Failure;

/// Who may say something of a release, for its promotion or for its way back; none where everybody may.
fn who_may(config: &Config) -> Option<Vec<String>> {
    let mut may = config.gates.approvals.as_ref()?.from.clone();
    let back = config.rollback.approvals.iter().flat_map(|approvals| &approvals.from);
    may.extend(back.cloned());
    may.sort();
    may.dedup();
    Some(may)
}

/// Records what this person says of a release.
pub(crate) async fn run(
    top: &Top,
    ask: &Judge,
    approves: bool,
    console: &Console,
) -> Result<Exit, Failure> {
    let environment = top.environment(&ask.env)?;
    let ledger = connect::ledger(top, &environment).await?.0;
    ledger.verify().await.map_err(|error| Failure::of(Exit::Usage, &error))?;
    let entries = liftlock_promote::history(&ledger)
        .await
        .map_err(|error| Failure::of(Exit::Usage, &error))?;
    if projection::release(&entries, &ask.release).is_none() {
        return Err(Failure::usage(format!(
            "there is no release {}; `liftlock release list` shows what there is",
            ask.release
        )));
    }
    let verb = if approves { "approve" } else { "reject" };
    let may = who_may(&environment.config);
    if let Some(may) = may.filter(|may| !may.iter().any(|name| name == top.actor.as_str())) {
        return Err(Failure {
            message: format!(
                "{} may {verb} no release for {}; who may: {}\n  next: ask one of them for `liftlock {verb} --env {} --release {}`",
                top.actor,
                ask.env,
                may.join(", "),
                ask.env,
                ask.release
            ),
            exit: Exit::Refused,
        });
    }
    let (release, comment) = (ask.release.clone(), ask.comment.clone());
    let event = if approves {
        Event::Approved { release, comment }
    } else {
        Event::Rejected { release, comment }
    };
    let draft = Draft {
        environment: Some(ask.env.clone()),
        run: None,
        actor: top.actor.clone(),
        event,
        fence: None,
    };
    let entry = ledger.append(draft).await.map_err(|error| Failure::of(Exit::Failed, &error))?;
    let verb = if approves { "approved" } else { "rejected" };
    console.result("entry", &entry, || {
        format!(
            "{} {verb} {} for {} (ledger entry {})",
            top.actor, ask.release, ask.env, entry.sequence
        )
    });
    Ok(Exit::Done)
}
