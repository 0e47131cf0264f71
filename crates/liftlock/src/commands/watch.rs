//! `rollout watch`.

use std::time::Duration;

use jiff::Timestamp;
use liftlock_ledger::{Ledger, Query};
use liftlock_model::{Entry, EnvName, Exit, ServiceName};
use liftlock_promote::{Picture, ServicePicture, Site, look, picture_run};

use crate::commands::{Top, rollout};
use crate::console::{Console, tree};
use crate::failure::Failure;

/// Between two looks at least.
const LEAST: Duration = Duration::from_millis(500);

/// Shows what is going on, until the run that is under way has ended; once where none is, or if asked to.
pub(crate) async fn watch(
    top: &Top,
    env: &EnvName,
    once: bool,
    console: &Console,
) -> Result<Exit, Failure> {
    let site = rollout::running_site(top, env, console).await?;
    let services: Vec<ServiceName> =
        site.environment.services_in_order().iter().map(|(name, _)| (*name).clone()).collect();
    let polls = site.environment.config.services.values().map(|one| one.rollout.poll.duration());
    let every = polls.min().unwrap_or_default().max(LEAST);
    let mut known = Known { entries: Vec::new() };
    let mut last: Option<Picture> = None;
    loop {
        let before = last.as_ref().map(|picture| picture.services.as_slice()).unwrap_or_default();
        let picture = known.draw(&site, env, &services, before).await?;
        if last.as_ref() != Some(&picture) {
            console.picture("rollout", &picture, || tree::lines(&picture, console.program()));
        }
        let is_over = once || !picture.is_under_way();
        last = Some(picture);
        if is_over {
            return Ok(Exit::Done);
        }
        tokio::time::sleep(every).await;
    }
}

/// What was read of the ledger by now.
struct Known {
    entries: Vec<Entry>,
}

impl Known {
    async fn draw(
        &mut self,
        site: &Site,
        env: &EnvName,
        services: &[ServiceName],
        before: &[ServicePicture],
    ) -> Result<Picture, Failure> {
        let seen = look(services, &site.targets, before).await;
        self.read(&site.ledger).await?;
        let holder = site.ledger.holder(env).await;
        let holder = holder.map_err(|error| Failure::of(Exit::Usage, &error))?;
        let alive = holder.filter(|lease| lease.expires > Timestamp::now());
        let run = picture_run(&self.entries, env, alive.as_ref().map(|lease| &lease.run));
        Ok(Picture { environment: env.clone(), run, services: seen })
    }

    /// Only what is new: a ledger may be long.
    async fn read(&mut self, ledger: &Ledger) -> Result<(), Failure> {
        let after = self.entries.last().map_or(0, |entry| entry.sequence);
        let new = ledger.entries(&Query::all().after(after)).await;
        self.entries.extend(new.map_err(|error| Failure::of(Exit::Usage, &error))?);
        Ok(())
    }
}
