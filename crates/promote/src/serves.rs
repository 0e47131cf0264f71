//! Whether users are answered well, now.

use futures_util::future::join_all;
use liftlock_environment::config::Smoke;
use liftlock_model::Verdict;
use liftlock_saga::{StepError, StepErrorKind};
use url::Url;

use crate::check::is_safe;
use crate::site::Site;

/// How many requests an error rate is told from, at least.
const REQUESTS: usize = 100;
/// How many of them are under way at a time.
const AT_ONCE: usize = 4;
/// An error rate, in percent, that is too high for a version that came back (A-RB-2).
const TOO_MANY: f64 = 1.0;

/// What users were answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answers {
    pub total: usize,
    pub bad: usize,
    /// What was wrong with the first that was bad.
    pub detail: Option<String>,
}

/// Asks for health, and what else can be asked without a trace, a hundred times.
pub(crate) async fn answers(site: &Site, url: &Url) -> Answers {
    let safe: Vec<Smoke> =
        site.environment.config.probes.smoke.iter().filter(|one| is_safe(one)).cloned().collect();
    let mut answers = Answers::default();
    while answers.total < REQUESTS {
        for round in join_all((0..AT_ONCE).map(|_| one_round(site, url, &safe))).await {
            answers.total += round.total;
            answers.bad += round.bad;
            answers.detail = answers.detail.or(round.detail);
        }
    }
    answers
}

async fn one_round(site: &Site, url: &Url, safe: &[Smoke]) -> Answers {
    let timeout = site.environment.config.probes.timeout.duration();
    let health = site.prober.health(url, timeout).await;
    let report = site.prober.smoke(safe, Some(url), None, timeout, &mut |_| {}).await;
    let failed = report.results.iter().filter(|one| one.verdict != Verdict::Pass);
    let mut details = failed.map(|one| format!("{}: {}", one.name, one.detail));
    let detail = (!health.ok).then(|| format!("health: {}", health.detail));
    let bad = usize::from(!health.ok)
        + report.results.iter().filter(|one| one.verdict != Verdict::Pass).count();
    Answers { total: 1 + report.results.len(), bad, detail: detail.or_else(|| details.next()) }
}

/// Pure: whether that is good enough for a version that came back.
pub(crate) fn judge(answers: &Answers, url: &Url) -> Result<String, StepError> {
    let Answers { total, bad, detail } = answers;
    #[expect(clippy::cast_precision_loss, reason = "a few hundred requests")]
    let rate = *bad as f64 * 100.0 / (*total).max(1) as f64;
    let text = format!("{bad} of {total} requests at {url} failed ({rate:.1} %)");
    if *total > 0 && rate < TOO_MANY {
        return Ok(text);
    }
    let detail = detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
    Err(StepError::new(
        StepErrorKind::Failed,
        format!("{text}, which is not under {TOO_MANY} %{detail}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows A-RB-2: an error rate under 1 %, and no data is no pass.
    #[test]
    fn one_in_a_hundred_is_too_many() {
        let url = "http://127.0.0.1/".parse().unwrap();
        let judged = |total, bad| judge(&Answers { total, bad, detail: None }, &url);
        assert!(judged(100, 0).unwrap().contains("0 of 100"));
        assert!(judged(101, 1).is_ok());
        assert!(judged(100, 1).unwrap_err().to_string().contains("1.0 %"));
        assert!(judged(0, 0).is_err());
    }
}
