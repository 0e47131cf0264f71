//! Checks of a rollout's named checks.

use std::collections::BTreeMap;

use liftlock_model::ServiceName;
use url::{Host, Url};

use crate::check::Checks;
use crate::config::{
    Engine, JsonEndpoint, NamedCheck, PLACEHOLDERS, Prometheus, Scalar, SecretSource, fill,
};
use crate::nearest::{did_you_mean, list};

/// The path to a key of one check.
struct Place<'a>([&'a str; 5]);

impl<'a> Place<'a> {
    fn key<'b>(&'b self, key: &'b str) -> Vec<&'b str>
    where
        'a: 'b,
    {
        self.0.iter().copied().chain([key]).collect()
    }

    fn inner<'b>(&'b self, table: &'b str, key: &'b str) -> Vec<&'b str>
    where
        'a: 'b,
    {
        self.0.iter().copied().chain([table, key]).collect()
    }
}

pub(crate) fn check(
    service: &ServiceName,
    named: &BTreeMap<String, NamedCheck>,
    engine: Engine,
    checks: &mut Checks<'_>,
) {
    for (name, check) in named {
        let place = Place(["services", service.as_str(), "rollout", "checks", name]);
        let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 40 || !name.chars().all(fine) {
            let help = "1 to 40 lower-case letters, digits and hyphens, such as `queue-depth`";
            checks.key(&place.0, format!("`{name}` cannot be a check's name"), help);
        }
        one(check, &place, engine, checks);
    }
}

fn one(check: &NamedCheck, place: &Place<'_>, engine: Engine, checks: &mut Checks<'_>) {
    let said = [check.prometheus.is_some(), check.json.is_some(), check.alarm.is_some()];
    match said.iter().filter(|is| **is).count() {
        1 => condition(check, place, checks),
        0 => checks.key(
            &place.0,
            "the check does not say what it looks at",
            "add one of `prometheus` (with `url` and `query`), `json` (with `url` and `pointer`) and `alarm` (an alarm's name)",
        ),
        _ => checks.key(
            &place.0,
            "the check looks at more than one thing",
            "keep one of `prometheus`, `json` and `alarm` (base.toml counts, too), and make a check of its own of each other",
        ),
    }
    checks.takes_time(&place.key("interval"), check.interval);
    checks.takes_time(&place.key("timeout"), check.timeout);
    if let Some(prometheus) = &check.prometheus {
        ask_prometheus(prometheus, place, engine, checks);
    }
    if let Some(json) = &check.json {
        ask_json(json, place, engine, checks);
    }
    if let Some(alarm) = &check.alarm {
        filled(&place.key("alarm"), alarm, "an alarm's whole name", checks);
    }
}

/// What is good must be said, and must be possible.
fn condition(check: &NamedCheck, place: &Place<'_>, checks: &mut Checks<'_>) {
    let limits = [("below", check.below), ("above", check.above)];
    if check.alarm.is_some() {
        let equals = check.equals.is_some().then_some("equals");
        let limits = limits.into_iter().filter(|(_, limit)| limit.is_some()).map(|(key, _)| key);
        for key in limits.chain(equals) {
            let message = format!("`{key}` is not for an alarm, which has a threshold of its own");
            checks.key(&place.key(key), message, "leave it out");
        }
        return;
    }
    match (check.below, check.above, &check.equals) {
        (None, None, None) => checks.key(
            &place.0,
            "the check does not say what is good",
            "add `below = 0.5`, `above = 0.99`, both, or `equals = 1`",
        ),
        (below, above, Some(_)) if below.is_some() || above.is_some() => checks.key(
            &place.key("equals"),
            "`equals` stands alone",
            "leave it out, or `below` and `above`",
        ),
        (Some(below), Some(above), None) if below <= above => checks.value(
            &place.key("below"),
            format!("nothing is both below {below} and above {above}"),
            "`below` is the upper end, and `above` the lower one",
        ),
        (_, _, Some(Scalar::Text(_) | Scalar::Truth(_))) if check.prometheus.is_some() => {
            checks.value(&place.key("equals"), "Prometheus answers with numbers", "write a number");
        }
        _ => {}
    }
    let equals = match check.equals {
        Some(Scalar::Number(number)) => Some(number),
        _ => None,
    };
    for (key, limit) in limits.into_iter().chain([("equals", equals)]) {
        if limit.is_some_and(|limit| !limit.is_finite()) {
            checks.value(&place.key(key), "nothing is compared with that", "write a finite number");
        }
    }
}

fn ask_prometheus(
    prometheus: &Prometheus,
    place: &Place<'_>,
    engine: Engine,
    checks: &mut Checks<'_>,
) {
    let Prometheus { url, query, token, headers } = prometheus;
    address(url, place.inner("prometheus", "url"), checks);
    if url.path().ends_with("/api/v1/query") {
        let help = "leave `/api/v1/query` out";
        checks.value(&place.inner("prometheus", "url"), "the path is added by Liftlock", help);
    }
    filled(&place.inner("prometheus", "query"), query, "a query in PromQL", checks);
    secrets("prometheus", url, token.as_ref(), headers, (place, engine), checks);
}

fn ask_json(json: &JsonEndpoint, place: &Place<'_>, engine: Engine, checks: &mut Checks<'_>) {
    let JsonEndpoint { url, pointer, token, headers } = json;
    address(url, place.inner("json", "url"), checks);
    if !is_pointer(pointer) {
        checks.value(
            &place.inner("json", "pointer"),
            "this is not a JSON pointer",
            "such as `/queue/depth` or `/items/0/age`; `~` is written `~0` and a `/` in a name `~1` (RFC 6901)",
        );
    }
    secrets("json", url, token.as_ref(), headers, (place, engine), checks);
}

fn address(url: &Url, path: Vec<&str>, checks: &mut Checks<'_>) {
    checks.http(&path, Some(url));
    if url.as_str().to_ascii_lowercase().contains("%7b%7b") || url.as_str().contains("{{") {
        let help = "write the address out; placeholders go into `query` and `alarm`";
        checks.value(&path, "there are no placeholders in a URL", help);
    }
}

/// RFC 6901, section 3.
fn is_pointer(pointer: &str) -> bool {
    let escapes = pointer.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
    (pointer.is_empty() || pointer.starts_with('/')) && escapes
}

fn filled(path: &[&str], text: &str, what: &str, checks: &mut Checks<'_>) {
    if text.trim().is_empty() {
        checks.value(path, "it is empty", format!("write {what}"));
    }
    let known = |name: &str| PLACEHOLDERS.contains(&name).then(String::new);
    if let Err(name) = fill(text, known) {
        let help = did_you_mean(&name, PLACEHOLDERS);
        let message = format!("`{{{{{name}}}}}` stands for nothing");
        checks.value(path, message, format!("{help}allowed: {}", list(&PLACEHOLDERS)));
    }
}

fn secrets(
    table: &str,
    url: &Url,
    token: Option<&SecretSource>,
    headers: &BTreeMap<String, SecretSource>,
    (place, engine): (&Place<'_>, Engine),
    checks: &mut Checks<'_>,
) {
    if let Some(token) = token {
        checks.secret(&place.inner(table, "token"), token, engine);
    }
    let above = place.inner(table, "headers");
    for (name, value) in headers {
        let path = [&above[..], &[name.as_str()]].concat();
        checks.secret(&path, value, engine);
        let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(fine) {
            checks.key(&path, "this is not the name of a header", "such as `X-Scope-OrgID`");
        } else if token.is_some() && name.eq_ignore_ascii_case("authorization") {
            checks.key(&path, "`token` is sent in this header already", "keep one of them");
        }
    }
    let is_secret = token.is_some() || !headers.is_empty();
    if is_secret && url.scheme() == "http" && !is_loopback(url) {
        checks.value(
            &place.inner(table, "url"),
            "secrets would go over the network in the clear",
            "say `https://…`; `http://` with a token or headers is for this machine only",
        );
    }
}

/// Whether a URL leads to this machine itself.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_one_of_rfc_6901() {
        assert!(["", "/", "/queue/depth", "/a~1b/m~0n", "/0"].into_iter().all(is_pointer));
        assert!(!["queue", "$.queue", "/a~", "/a~2b"].into_iter().any(is_pointer));
    }
}
