//! After a promotion: old task definitions are taken out of use, where the environment says how many it keeps. The release serves
//! already, and nothing depends on it: what fails here is told, and tried again after the next promotion.

use liftlock_model::{Event, StepName};
use liftlock_rollout::tidy;

use crate::steps::Frame;

/// Tidies each service that wants it.
pub(crate) async fn task_definitions(frame: &Frame<'_>) {
    for (service, settings) in frame.site.environment.services_in_order() {
        let Some(keep) = settings.rollout.keep_task_definitions else { continue };
        let Ok(target) = frame.target(service) else { continue };
        let step = StepName::new(format!("rollout/{service}/tidy"));
        match tidy(target, keep).await {
            Ok(tidied) if tidied.retired.is_empty() => {}
            Ok(tidied) => {
                let retired = tidied.retired.iter().map(ToString::to_string).collect();
                let kept = u64::try_from(tidied.kept).unwrap_or(u64::MAX);
                let service = service.clone();
                let event = Event::TaskDefinitionsRetired { service, retired, kept };
                // They are gone all the same: ECS knows which are inactive.
                frame.scribe.write(event).await.ok();
            }
            Err(error) => frame.scribe.life(&step, &format!("left for the next time: {error}")),
        }
    }
}
