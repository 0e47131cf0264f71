//! `audit verify` and `audit export`.

use liftlock_ledger::Query;
use liftlock_model::Exit;
use serde_json::json;

use crate::cli::Audit;
use crate::commands::Top;
use crate::connect;
use crate::console::Console;
use crate::failure::Failure;

/// Runs an `audit` command over every ledger of the environments.
pub(crate) async fn run(top: &Top, command: &Audit, console: &Console) -> Result<Exit, Failure> {
    let ledgers = connect::all_ledgers(top).await?;
    if ledgers.is_empty() {
        console.say("there is no ledger yet: nothing has been released or promoted");
    }
    let mut exit = Exit::Done;
    for ledger in ledgers {
        match command {
            Audit::Export => {
                let lines = ledger
                    .export(&Query::all())
                    .await
                    .map_err(|error| Failure::of(Exit::Usage, &error))?;
                for line in lines {
                    console.product(&format!("{line}\n"));
                }
            }
            Audit::Verify => match ledger.verify().await {
                Ok(verified) => {
                    let value = json!({ "ledger": ledger.place(), "entries": verified.entries, "head": verified.head });
                    console.result("verified", &value, || {
                        format!(
                            "{}: {} entries, unbroken; head {}",
                            ledger.place(),
                            verified.entries,
                            verified.head
                        )
                    });
                }
                Err(error) => {
                    console.error(&Failure::of(Exit::Failed, &error).message);
                    exit = Exit::Failed;
                }
            },
        }
    }
    Ok(exit)
}
