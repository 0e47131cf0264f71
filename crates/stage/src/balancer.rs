//! The load balancer: an HTTP proxy that splits traffic by the rules' weights at each request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri, Version};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpListener;

use crate::arn::ListenerName;
use crate::fault::{Instead, Meddling};
use crate::guarded::Guarded;
use crate::pattern;
use crate::state::Rule;
use crate::world::{Health, Inner, World};

/// How long a target may take to begin its answer (a load balancer's default `idle_timeout.timeout_seconds`).
const TARGET_LIMIT: Duration = Duration::from_secs(60);
/// How long connecting to a target may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Headers that concern one connection only (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

type Targets = Client<HttpConnector, Body>;

/// Serves one listener until the stage ends.
pub(crate) async fn serve(world: Arc<World>, listener: TcpListener, name: ListenerName) {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_LIMIT));
    let targets: Targets = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(20))
        .build(connector);
    let port = listener.local_addr().map_or(0, |address| address.port());
    let front = Front { world, targets, name, port };
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                // Small answers go out at once; if the system refuses, they only go out later.
                stream.set_nodelay(true).unwrap_or_default();
                tokio::spawn(connection(front.clone(), TokioIo::new(stream), from));
            }
            // Out of file descriptors, or the client was gone already: others may come.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

#[derive(Clone)]
struct Front {
    world: Arc<World>,
    targets: Targets,
    name: ListenerName,
    port: u16,
}

async fn connection(front: Front, stream: TokioIo<tokio::net::TcpStream>, from: SocketAddr) {
    let service = service_fn(move |request| {
        let front = front.clone();
        async move { Ok::<_, std::convert::Infallible>(answer(&front, request, from).await) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(60));
    // A client that goes away in the middle of a request is its own affair.
    http.serve_connection(stream, service).await.unwrap_or_default();
}

/// Where a request goes.
enum Choice {
    Target { group: String, port: u16, open: Open, meddling: Meddling },
    NoRule,
    NobodyHealthy { group: String },
}

/// A request under way to a target; the target's count falls when this is dropped.
pub(crate) struct Open(Arc<AtomicUsize>);

impl Open {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn answer(
    front: &Front,
    request: Request<hyper::body::Incoming>,
    from: SocketAddr,
) -> Response<Body> {
    let choice = choose(&mut front.world.look(), front.name, request.uri().path());
    let (group, port, open, meddling) = match choice {
        Choice::Target { group, port, open, meddling } => (group, port, open, meddling),
        Choice::NoRule => {
            return own(StatusCode::NOT_FOUND, "no rule of this listener takes this path");
        }
        Choice::NobodyHealthy { group } => {
            front.world.look().metrics.unanswered(&group, now());
            return own(StatusCode::SERVICE_UNAVAILABLE, &format!("{group} has no healthy target"));
        }
    };
    let began = Instant::now();
    if !meddling.delay.is_zero() {
        tokio::time::sleep(meddling.delay).await;
    }
    if let Some(instead) = meddling.instead {
        return meddled(front, &group, began, instead).await;
    }
    let outgoing = match outgoing(request, port, from, front.port) {
        Ok(outgoing) => outgoing,
        Err(error) => return own(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let answered = tokio::time::timeout(TARGET_LIMIT, front.targets.request(outgoing)).await;
    let (status, why) = match answered {
        Ok(Ok(answer)) => {
            let seconds = began.elapsed().as_secs_f64();
            front.world.look().metrics.answered(&group, now(), answer.status().as_u16(), seconds);
            return passed_on(answer, open);
        }
        Ok(Err(_)) => (StatusCode::BAD_GATEWAY, "closed the connection"),
        Err(_) => (StatusCode::GATEWAY_TIMEOUT, "did not answer in time"),
    };
    front.world.look().metrics.unanswered(&group, now());
    own(status, &format!("a target of {group} {why}"))
}

/// What a fault makes of a request in the target's place.
async fn meddled(front: &Front, group: &str, began: Instant, instead: Instead) -> Response<Body> {
    let (status, why) = match instead {
        Instead::Status(status) => {
            let seconds = began.elapsed().as_secs_f64();
            front.world.look().metrics.answered(group, now(), status, seconds);
            let mut answer = Response::new(Body::from("a fault of the stage\n"));
            *answer.status_mut() =
                StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return answer;
        }
        Instead::Reset => (StatusCode::BAD_GATEWAY, "closed the connection"),
        Instead::Hang => {
            tokio::time::sleep(TARGET_LIMIT).await;
            (StatusCode::GATEWAY_TIMEOUT, "did not answer in time")
        }
    };
    front.world.look().metrics.unanswered(group, now());
    own(status, &format!("a target of {group} {why}"))
}

pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// An answer of the load balancer itself.
fn own(status: StatusCode, text: &str) -> Response<Body> {
    let mut answer = Response::new(Body::from(format!("{status}: {text}\n")));
    *answer.status_mut() = status;
    answer.headers_mut().insert("server", HeaderValue::from_static("awselb/2.0"));
    answer
}

fn choose(inner: &mut Inner, listener: ListenerName, path: &str) -> Choice {
    let matching = inner.state.rules.iter().filter(|rule| {
        rule.listener == listener
            && rule.paths.iter().any(|pattern| pattern::matches(pattern, path))
    });
    let Some(rule) = matching.min_by_key(|rule| rule.priority) else { return Choice::NoRule };
    let rule = rule.clone();
    let group = match by_weight(inner, &rule) {
        Some(group) => group,
        None => return Choice::NobodyHealthy { group: rule.service },
    };
    let Inner { groups, tasks, faults, .. } = inner;
    let Some(targets) = groups.get_mut(&group) else {
        return Choice::NobodyHealthy { group };
    };
    match targets.iter().position(|target| target.health == Health::Healthy) {
        None => Choice::NobodyHealthy { group },
        Some(at) => {
            // Round robin: who is asked goes to the end.
            let target = targets.remove(at).expect("the position was found a moment ago");
            let (port, open) = (target.port, Open::new(&target.open));
            let meddling = match tasks.get(&target.task) {
                Some(task) if !faults.is_empty() => {
                    faults.request(&task.subject(&target.task), path, false)
                }
                _ => Meddling::default(),
            };
            targets.push_back(target);
            Choice::Target { group, port, open, meddling }
        }
    }
}

/// Smooth weighted round robin: each group gains its weight, and the one that has most gets the request and pays the sum.
/// A share of 10 % gets every tenth request, not about every tenth: a rehearsal sees little traffic.
fn by_weight(inner: &mut Inner, rule: &Rule) -> Option<String> {
    let total: i64 = rule.targets.iter().map(|(_, weight)| i64::from(*weight)).sum();
    let mut best: Option<(i64, &String)> = None;
    for (group, weight) in rule.targets.iter().filter(|(_, weight)| *weight > 0) {
        let gained = inner.rounds.entry((rule.arn.clone(), group.clone())).or_default();
        *gained += i64::from(*weight);
        if best.is_none_or(|(most, _)| *gained > most) {
            best = Some((*gained, group));
        }
    }
    let (_, group) = best?;
    *inner.rounds.entry((rule.arn.clone(), group.clone())).or_default() -= total;
    Some(group.clone())
}

/// The request as the target gets it.
fn outgoing(
    request: Request<hyper::body::Incoming>,
    port: u16,
    from: SocketAddr,
    own_port: u16,
) -> Result<Request<Body>, hyper::http::Error> {
    let (mut head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let host = head.uri.authority().map(|authority| authority.as_str().to_owned());
    head.uri = Uri::builder()
        .scheme("http")
        .authority(format!("127.0.0.1:{port}"))
        .path_and_query(path)
        .build()?;
    head.version = Version::HTTP_11;
    strip(&mut head.headers);
    if let (None, Some(host)) = (head.headers.get(HOST), host) {
        head.headers.insert(HOST, HeaderValue::try_from(host)?);
    }
    append(&mut head.headers, "x-forwarded-for", &from.ip().to_string())?;
    head.headers.insert("x-forwarded-proto", HeaderValue::from_static("http"));
    head.headers.insert("x-forwarded-port", own_port.into());
    Ok(Request::from_parts(head, Body::new(body)))
}

fn append(
    headers: &mut HeaderMap,
    name: &'static str,
    value: &str,
) -> Result<(), hyper::http::Error> {
    let before = headers.get(name).and_then(|value| value.to_str().ok());
    let whole = before.map_or_else(|| value.to_owned(), |before| format!("{before}, {value}"));
    headers.insert(name, HeaderValue::try_from(whole)?);
    Ok(())
}

fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// The answer as the client gets it; the request is open until its last byte.
fn passed_on(answer: Response<hyper::body::Incoming>, open: Open) -> Response<Body> {
    let (mut head, body) = answer.into_parts();
    strip(&mut head.headers);
    head.version = Version::HTTP_11;
    Response::from_parts(head, Body::new(Guarded::new(body, open)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_is_every_tenth_request() {
        let mut inner = Inner::default();
        let rule = Rule {
            arn: "rule".into(),
            listener: ListenerName::Production,
            service: "s".into(),
            priority: 1,
            paths: vec!["/*".into()],
            targets: vec![("blue".into(), 90), ("green".into(), 10)],
        };
        let mut greens = 0;
        for request in 1..=1000 {
            if by_weight(&mut inner, &rule).as_deref() == Some("green") {
                greens += 1;
            }
            assert!((request / 10..=request / 10 + 1).contains(&greens), "{greens} of {request}");
        }
        let none = Rule { targets: vec![("blue".into(), 0)], ..rule };
        assert_eq!(by_weight(&mut inner, &none), None);
    }
}
