//! `promote` and `rollback`.

use std::time::Instant;

use liftlock_environment::config::Engine;
use liftlock_model::{Exit, Outcome, RunKind};
use liftlock_promote::{Ask, Conclusion, Preview, Site, Tried, preview};
use tokio_util::sync::CancellationToken;

use crate::cli::{Promote, Rollback};
use crate::commands::{Top, emergency};
use crate::connect;
use crate::console::{Console, seconds};
use crate::failure::Failure;
use crate::local;

/// `promote`.
pub(crate) async fn promote(top: &Top, ask: &Promote, console: &Console) -> Result<Exit, Failure> {
    if ask.skip_canary && ask.reason.as_deref().is_none_or(|reason| reason.trim().is_empty()) {
        return Err(Failure::usage(
            "--skip-canary needs a reason, which is recorded\n  next: say why with --reason TEXT",
        ));
    }
    let environment = top.environment(&ask.env)?;
    let is_local = environment.config.infrastructure.engine == Engine::Stage;
    let site = match ask.dry_run {
        true => connect::dry_site(top, environment, console).await?,
        false => connect::site(top, environment, console).await?,
    };
    let cancel = stop_on_signals(console);
    if ask.resume {
        let conclusion =
            liftlock_promote::resume(&site, ask.run.as_ref(), &console.report(), &cancel).await?;
        return Ok(show(&site, &conclusion, console, Instant::now()).await);
    }
    let release = if is_local {
        Some(local::release(top, &site, ask, console, &cancel).await?)
    } else {
        ask.release
            .as_deref()
            .map(str::parse)
            .transpose()
            .map_err(|error| Failure::of(Exit::Usage, &error))?
    };
    let mut wanted = Ask::promotion(release);
    wanted.reason.clone_from(&ask.reason);
    wanted.skip_canary = ask.skip_canary;
    if ask.dry_run {
        return dry_run(&site, &wanted, console).await;
    }
    run(&site, &wanted, console, &cancel).await
}

/// `rollback`.
pub(crate) async fn rollback(
    top: &Top,
    ask: &Rollback,
    console: &Console,
) -> Result<Exit, Failure> {
    let environment = top.environment(&ask.env)?;
    if ask.emergency {
        return Box::pin(emergency::run(top, ask, environment, console)).await;
    }
    if let Err(failure) = connect::existing_ledger(top, &environment).await {
        return Err(emergency::offer(failure, &ask.env, console));
    }
    let site = match ask.dry_run {
        true => connect::dry_site(top, environment, console).await?,
        false => connect::site(top, environment, console).await?,
    };
    let wanted = Ask {
        kind: RunKind::Rollback,
        release: ask.to.clone(),
        reason: ask.reason.clone(),
        keep_schema: ask.keep_schema,
        accept_data_loss: ask.accept_data_loss,
        skip_canary: false,
    };
    if ask.dry_run {
        return dry_run(&site, &wanted, console).await;
    }
    let cancel = stop_on_signals(console);
    run(&site, &wanted, console, &cancel).await
}

async fn run(
    site: &Site,
    ask: &Ask,
    console: &Console,
    cancel: &CancellationToken,
) -> Result<Exit, Failure> {
    let began = Instant::now();
    let conclusion =
        Box::pin(liftlock_promote::start(site, ask, &console.report(), cancel)).await?;
    Ok(show(site, &conclusion, console, began).await)
}

/// The first signal asks the run to stop at the next boundary and to unwind; a second one changes nothing, since there is no
/// faster way back, and says so.
pub(crate) fn stop_on_signals(console: &Console) -> CancellationToken {
    use tokio::signal::unix::{SignalKind, signal};
    let cancel = CancellationToken::new();
    // A terminal that is closed, or a connection that breaks, says SIGHUP.
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
    ) else {
        return cancel;
    };
    let token = cancel.clone();
    let voice = console.voice();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            if token.is_cancelled() {
                voice(
                    "already going back; killing this process now would leave it half way (`promote --resume` goes on from there)",
                );
            } else {
                voice("stopping: traffic goes back first, then everything else");
                token.cancel();
            }
        }
    });
    cancel
}

/// Prints how it ended, and where to look.
pub(crate) async fn show(
    site: &Site,
    conclusion: &Conclusion,
    console: &Console,
    began: Instant,
) -> Exit {
    let environment = &site.environment.name;
    let version = &conclusion.release.content.version;
    let id = &conclusion.release.id;
    let url = site.url().await.ok();
    if console.is_json() {
        let value = serde_json::json!({
            "environment": environment, "release": id, "release_version": version, "run": conclusion.run,
            "outcome": conclusion.outcome, "left": conclusion.left, "exit": conclusion.exit().code(),
            "skipped_canary": conclusion.deployment.as_ref().and_then(|one| one.skipped_canary.as_ref()),
            "failure": conclusion.failure.as_ref().map(|f| serde_json::json!({ "step": f.step, "error": f.error })),
            "url": url,
        });
        console.result("conclusion", &value, String::new);
        return conclusion.exit();
    }
    let Some(run) = &conclusion.run else {
        let what = if conclusion.left.is_empty() { "; there is nothing to do" } else { "" };
        let mut lines = vec![format!("{version} ({id}) serves in {environment} already{what}")];
        lines.extend(left(conclusion, console));
        console.say(&lines.join("\n"));
        return conclusion.exit();
    };
    let took = seconds(began.elapsed());
    let budgets = &site.environment.config.budgets;
    let (budget, what) = match conclusion.deployment.as_ref().map(|deployment| deployment.kind) {
        Some(RunKind::Rollback) => (budgets.rollback, "rollback"),
        _ => (budgets.promotion, "promotion"),
    };
    let mut lines = vec![String::new()];
    match conclusion.outcome {
        Outcome::Succeeded => {
            lines.push(format!("{version} ({id}) serves in {environment}, after {took}"))
        }
        Outcome::RolledBack => {
            let back = match conclusion
                .deployment
                .as_ref()
                .and_then(|deployment| deployment.previous.as_ref())
            {
                Some(previous) => format!("{previous} serves again"),
                None => "nothing served before, and nothing does now".into(),
            };
            lines.push(format!(
                "{version} ({id}) FAILED in {environment} and was rolled back: {back}, after {took}"
            ));
        }
        Outcome::Stuck => {
            lines.push(format!("{version} ({id}) FAILED in {environment} and was NOT fully rolled back, after {took}"));
        }
    }
    if let Some(failure) = &conclusion.failure {
        let error = failure.error.replace('\n', "\n            ");
        lines.push(format!("  why       {}: {error}", failure.step));
    }
    let skipped = conclusion.deployment.as_ref().and_then(|one| one.skipped_canary.as_ref());
    lines.extend(skipped.map(|why| format!("  canary    skipped: {why}")));
    lines.extend(left(conclusion, console));
    if began.elapsed() > budget.duration() {
        lines.push(format!("  budget    exceeded: budgets.{what} of {environment} is {budget}"));
    }
    if let Some(url) = url {
        lines.push(format!("  url       {url}"));
    }
    let program = console.program();
    lines.push(format!("  history   {program} history --env {environment}"));
    lines.push(format!("  run       {run}  ({program} history --run {run})"));
    console.say(&lines.join("\n"));
    conclusion.exit()
}

/// What is left, and the commands that deal with it.
fn left<'a>(conclusion: &'a Conclusion, console: &Console) -> impl Iterator<Item = String> + 'a {
    let program = format!("{} ", console.program());
    conclusion.left.iter().flat_map(move |left| {
        let next = left.command.replace("liftlock ", &program);
        [format!("  left      {}", left.what), format!("  next      {next}")]
    })
}

async fn dry_run(site: &Site, ask: &Ask, console: &Console) -> Result<Exit, Failure> {
    let preview = Box::pin(preview(site, ask, &|text| console.life(text))).await?;
    console.result("preview", &preview, || describe(site, &preview));
    Ok(verdict(&preview))
}

/// How the promotion itself would have to exit, as far as it could be tried.
fn verdict(preview: &Preview) -> Exit {
    match liftlock_gate::decide(&preview.gates) {
        liftlock_gate::Decision::Refused => return Exit::Refused,
        liftlock_gate::Decision::Waiting => return Exit::Waiting,
        liftlock_gate::Decision::Open => {}
    }
    match (&preview.infrastructure, &preview.migrations) {
        (Tried::Done(plan), _) if !plan.violations.is_empty() => Exit::Refused,
        (_, Tried::Done(report)) => report.exit(),
        _ => Exit::Done,
    }
}

fn describe(site: &Site, preview: &Preview) -> String {
    let content = &preview.release.content;
    let mut lines = vec![format!(
        "{} ({}, commit {}) to {}; plan {}; nothing is touched",
        content.version,
        preview.release.id,
        &content.commit.as_str()[..12],
        site.environment.name,
        preview.fingerprint.short()
    )];
    lines.push("gates".into());
    if preview.gates.is_empty() {
        lines.push("  none".into());
    }
    for gate in &preview.gates {
        let state = format!("{:?}", gate.decision).to_lowercase();
        lines.push(format!("  {:<12} {state:<8} {}", gate.gate, gate.reason));
        lines.extend(gate.next.iter().map(|next| format!("  {:<12} {:<8} next: {next}", "", "")));
    }
    lines.push("steps".into());
    for (number, step) in preview.steps.iter().enumerate() {
        lines.push(format!("  {:>2}. {:<31} {}", number + 1, step.step, step.does));
        lines.push(format!("      {:<31} undo: {}", "", step.reversal));
    }
    lines.push("infrastructure, planned for real".into());
    match &preview.infrastructure {
        Tried::Done(plan) => {
            lines.push(format!("  {}", plan.headline));
            lines.extend(plan.details.iter().map(|line| format!("    {line}")));
            lines.extend(plan.violations.iter().map(|line| format!("    REFUSED: {line}")));
        }
        Tried::CouldNot(why) => {
            lines.push(format!("  could not be tried: {}", why.replace('\n', "\n    ")))
        }
        Tried::Nothing => lines.push("  none".into()),
    }
    lines.push("migrations, run for real on a throw-away copy".into());
    match &preview.migrations {
        Tried::Done(report) => {
            lines.extend(report.to_string().lines().map(|line| format!("  {line}")))
        }
        Tried::CouldNot(why) => {
            lines.push(format!("  could not be tried: {}", why.replace('\n', "\n    ")))
        }
        Tried::Nothing => lines.push("  none".into()),
    }
    lines.join("\n")
}
