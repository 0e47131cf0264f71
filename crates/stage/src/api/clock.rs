//! AWS's clock: what it tells, and callers whose clock differs.

use hyper::header::{DATE, HeaderMap, HeaderValue};
use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};

use super::Protocol;
use crate::refusal::Refusal;

/// How far a caller's clock may be off (AWS Signature Version 4).
const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);
const FORM: &str = "%Y%m%dT%H%M%SZ";

/// Refuses a call that was signed too long before or after now, as AWS does.
pub(super) fn refuse(
    protocol: Protocol,
    headers: &HeaderMap,
    skew: SignedDuration,
) -> Option<Refusal> {
    let said = headers.get("x-amz-date")?.to_str().ok()?;
    let signed = civil::DateTime::strptime(FORM, said).ok()?;
    let signed = signed.to_zoned(TimeZone::UTC).ok()?.timestamp();
    let now = Timestamp::now().checked_add(skew).ok()?;
    let apart = signed.duration_since(now);
    let form = |time: Timestamp| time.strftime(FORM).to_string();
    let message = if apart > TOLERANCE {
        let limit = form(now.checked_add(TOLERANCE).ok()?);
        format!(
            "Signature not yet current: {said} is still later than {limit} ({} + 5 min.)",
            form(now)
        )
    } else if apart < -TOLERANCE {
        let limit = form(now.checked_sub(TOLERANCE).ok()?);
        format!("Signature expired: {said} is now earlier than {limit} ({} - 5 min.)", form(now))
    } else {
        return None;
    };
    Some(match protocol {
        Protocol::Query => Refusal::new("SignatureDoesNotMatch", message).with_status(403),
        _ => Refusal::new("InvalidSignatureException", message),
    })
}

/// Tells the time in the header, where it is not this machine's.
pub(super) fn tell(headers: &mut HeaderMap, skew: SignedDuration) {
    if skew.is_zero() {
        return;
    }
    let told = Timestamp::now().checked_add(skew).ok();
    let told = told.map(|time| time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
    if let Some(told) = told.and_then(|told| HeaderValue::try_from(told).ok()) {
        headers.insert(DATE, told);
    }
}
