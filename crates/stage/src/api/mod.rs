//! The AWS endpoint: which service is called, in which protocol, and whether the caller may.

mod clock;
mod cloudwatch;
mod ecs;
mod ecs_definitions;
mod ecs_describe;
mod elb;
mod input;
mod rds;
mod ssm;
mod sts;

pub(crate) use ecs_definitions::add as add_definition;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use jiff::SignedDuration;
use serde_json::{Value as Json, json};

use crate::fault::CallFate;
use crate::recorder::Exchange;
use crate::refusal::Refusal;
use crate::state::random_id;
use crate::tree::{self, Tree};
use crate::world::{Past, World};

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    /// AWS JSON 1.0 and 1.1.
    Json,
    /// AWS Query: a form in, XML out.
    Query,
    /// Smithy RPC v2 with CBOR.
    Cbor,
}

impl Protocol {
    fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Query => "query",
            Self::Cbor => "cbor",
        }
    }
}

/// A call, read.
struct Call {
    service: String,
    protocol: Protocol,
    operation: String,
    input: Json,
}

/// What an operation answers.
enum Answer {
    Json(Json),
    Tree(Tree),
}

/// A world to ask and to change, by a caller to whom it may lag.
pub(crate) struct At<'a> {
    world: &'a Arc<World>,
    lag: Duration,
}

impl At<'_> {
    /// The world as this caller is told of it.
    fn view(&self) -> Past<'_> {
        self.world.look_back(self.lag)
    }
}

impl Deref for At<'_> {
    type Target = Arc<World>;
    fn deref(&self) -> &Arc<World> {
        self.world
    }
}

/// Answers one call of an AWS client. None: the connection is to be closed without a word.
pub(crate) async fn answer(
    world: &Arc<World>,
    access_key: &str,
    path: &str,
    headers: &HeaderMap,
    body: &Bytes,
) -> Option<Response<Body>> {
    let protocol = protocol(headers);
    let scope = scope(headers);
    let service = scope.as_ref().map(|scope| scope.service.clone()).unwrap_or_default();
    let call = read(protocol, &service, path, headers, body);
    let operation = call.as_ref().map(|call| call.operation.clone()).unwrap_or_default();
    let fate = {
        let mut inner = world.look();
        *inner.calls.entry(format!("{service}:{operation}")).or_default() += 1;
        inner.faults.call(&service, &operation)
    };
    if !fate.delay.is_zero() {
        tokio::time::sleep(fate.delay).await;
    }
    if fate.hang {
        hang(world, &service, &operation).await;
        return None;
    }
    let skew = world.look().faults.skew();
    let result = match (scope, call) {
        (None, _) => {
            let message = "Request is missing Authentication Token";
            Err(Refusal::new("MissingAuthenticationToken", message).with_status(403))
        }
        (Some(scope), _) if scope.access_key != access_key => Err(not_known(protocol)),
        _ if let Some(refusal) = clock::refuse(protocol, headers, skew) => Err(refusal),
        (_, Err(refusal)) => Err(refusal),
        _ if let Some(refusal) = refused(protocol, &fate) => Err(refusal),
        (_, Ok(call)) => perform(&At { world, lag: fate.lag }, &call),
    };
    let answer = write(protocol, &service, &operation, result, skew);
    if let Some(recorder) = &world.recorder {
        recorder.write(&Exchange {
            service: &service,
            operation: &operation,
            protocol: protocol.as_str(),
            request: body,
            status: answer.status().as_u16(),
            answer: answer.body(),
        });
    }
    (!fate.lost).then_some(answer.map(Body::from))
}

/// Keeps a caller waiting for as long as the fault is there.
async fn hang(world: &World, service: &str, operation: &str) {
    let mut changed = world.faults_changed.subscribe();
    while world.look().faults.hangs(service, operation) {
        let look = tokio::time::timeout(Duration::from_millis(200), changed.changed());
        // A fault's time may also be over without a word.
        look.await.map(drop).unwrap_or_default();
    }
}

/// What AWS says when a fault has it refuse.
fn refused(protocol: Protocol, fate: &CallFate) -> Option<Refusal> {
    if fate.throttled {
        let code = if protocol == Protocol::Query { "Throttling" } else { "ThrottlingException" };
        return Some(Refusal::new(code, "Rate exceeded"));
    }
    let (code, status) = fate.error.clone()?;
    let own = match protocol {
        Protocol::Json => "ServerException",
        Protocol::Query | Protocol::Cbor => "InternalFailure",
    };
    let message = "A fault of the stage: the service failed, and did nothing.";
    let code = code.unwrap_or_else(|| own.to_owned());
    Some(Refusal::new(code, message).with_status(status))
}

struct Scope {
    access_key: String,
    service: String,
}

/// Reads `AWS4-HMAC-SHA256 Credential=<key>/<date>/<region>/<service>/aws4_request, …`.
fn scope(headers: &HeaderMap) -> Option<Scope> {
    let text = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("AWS4-HMAC-SHA256 ")?;
    let credential = text.split(',').find_map(|part| part.trim().strip_prefix("Credential="))?;
    let mut parts = credential.split('/');
    let access_key = parts.next()?.to_owned();
    Some(Scope { access_key, service: parts.nth(2)?.to_owned() })
}

fn not_known(protocol: Protocol) -> Refusal {
    let message = "The security token included in the request is invalid.";
    match protocol {
        Protocol::Json => Refusal::new("UnrecognizedClientException", message),
        _ => Refusal::new("InvalidClientTokenId", message).with_status(403),
    }
}

fn protocol(headers: &HeaderMap) -> Protocol {
    if headers.get("smithy-protocol").is_some_and(|name| name == "rpc-v2-cbor") {
        Protocol::Cbor
    } else if headers.contains_key("x-amz-target") {
        Protocol::Json
    } else {
        Protocol::Query
    }
}

fn read(
    protocol: Protocol,
    service: &str,
    path: &str,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Call, Refusal> {
    let malformed = || Refusal::new("SerializationException", "the request cannot be read");
    let (operation, input) = match protocol {
        Protocol::Cbor => {
            let operation = path.rsplit_once("/operation/").map_or("", |(_, name)| name);
            (operation.to_owned(), tree::from_cbor(body).ok_or_else(malformed)?)
        }
        Protocol::Json => {
            let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok());
            let operation =
                target.and_then(|target| target.rsplit_once('.')).map_or("", |(_, n)| n);
            let text: &[u8] = if body.is_empty() { b"{}" } else { body };
            (operation.to_owned(), serde_json::from_slice(text).map_err(|_| malformed())?)
        }
        Protocol::Query => {
            let input = tree::from_query(body);
            (input["Action"].as_str().unwrap_or_default().to_owned(), input)
        }
    };
    Ok(Call { service: service.to_owned(), protocol, operation, input })
}

fn perform(world: &At<'_>, call: &Call) -> Result<Answer, Refusal> {
    let (operation, input) = (call.operation.as_str(), &call.input);
    match (call.service.as_str(), call.protocol) {
        ("ecs", Protocol::Json) => ecs::perform(world, operation, input).map(Answer::Json),
        ("ssm", Protocol::Json) => ssm::perform(world, operation, input).map(Answer::Json),
        ("elasticloadbalancing", Protocol::Query) => {
            elb::perform(world, operation, input).map(Answer::Tree)
        }
        ("rds", Protocol::Query) => rds::perform(world, operation, input).map(Answer::Tree),
        ("monitoring", _) => cloudwatch::perform(world, operation, input).map(Answer::Tree),
        ("sts", Protocol::Query) => sts::perform(world, operation).map(Answer::Tree),
        (service, _) => Err(unknown(&format!("{service}:{operation}"), call.protocol)),
    }
}

/// An operation that the stage does not have.
fn unknown(operation: &str, protocol: Protocol) -> Refusal {
    let message = format!("the stage has no operation {operation}");
    match protocol {
        Protocol::Query => Refusal::new("InvalidAction", message),
        _ => Refusal::new("UnknownOperationException", message),
    }
}

fn write(
    protocol: Protocol,
    service: &str,
    operation: &str,
    result: Result<Answer, Refusal>,
    skew: SignedDuration,
) -> Response<Vec<u8>> {
    let result = result.map(|answer| match answer {
        Answer::Tree(tree) => Answer::Tree(tree.shifted(skew)),
        json @ Answer::Json(_) => json,
    });
    let id = request_id();
    let status = result.as_ref().err().map_or(200, |refusal| refusal.status);
    let code = result.as_ref().err().map(|refusal| refusal.code.clone());
    let (kind, body) = match (protocol, result) {
        (Protocol::Json, Ok(Answer::Json(json))) => {
            ("application/x-amz-json-1.1", json.to_string().into_bytes())
        }
        (Protocol::Json, Ok(Answer::Tree(tree))) => {
            ("application/x-amz-json-1.0", tree.to_json().to_string().into_bytes())
        }
        (Protocol::Json, Err(refusal)) => {
            let body = json!({ "__type": refusal.code, "message": refusal.message });
            ("application/x-amz-json-1.1", body.to_string().into_bytes())
        }
        (Protocol::Cbor, Ok(Answer::Tree(tree))) => ("application/cbor", tree.to_cbor()),
        (Protocol::Cbor, Ok(Answer::Json(_))) => ("application/cbor", Vec::new()),
        (Protocol::Cbor, Err(refusal)) => {
            let body = tree::map([
                ("__type", refusal.code.into_owned().into()),
                ("message", refusal.message.into()),
            ]);
            ("application/cbor", body.to_cbor())
        }
        (Protocol::Query, result) => {
            ("text/xml", xml(service, operation, &id, result).into_bytes())
        }
    };
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Ok(id) = HeaderValue::try_from(&id) {
        headers.insert("x-amzn-requestid", id);
    }
    clock::tell(headers, skew);
    if protocol == Protocol::Cbor {
        headers.insert("smithy-protocol", HeaderValue::from_static("rpc-v2-cbor"));
    }
    // Old clients of a service that left the query protocol still look for its error codes.
    if let (Some(code), "monitoring") = (code, service)
        && let Ok(code) = HeaderValue::try_from(format!("{code};Sender"))
    {
        headers.insert("x-amzn-query-error", code);
    }
    answer
}

fn request_id() -> String {
    let hex = random_id(16);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn xml(service: &str, operation: &str, id: &str, result: Result<Answer, Refusal>) -> String {
    let namespace = match service {
        "rds" => "http://rds.amazonaws.com/doc/2014-10-31/",
        "monitoring" => "http://monitoring.amazonaws.com/doc/2010-08-01/",
        "sts" => "https://sts.amazonaws.com/doc/2011-06-15/",
        _ => "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/",
    };
    let mut inside = String::new();
    match result {
        Ok(answer) => {
            if let Answer::Tree(tree) = answer {
                tree.to_xml(&mut inside);
            }
            format!(
                "<{operation}Response xmlns=\"{namespace}\"><{operation}Result>{inside}</{operation}Result>\
                 <ResponseMetadata><RequestId>{id}</RequestId></ResponseMetadata></{operation}Response>"
            )
        }
        Err(refusal) => {
            tree::escape(&mut inside, &refusal.message);
            let kind = if refusal.status < 500 { "Sender" } else { "Receiver" };
            format!(
                "<ErrorResponse xmlns=\"{namespace}\"><Error><Type>{kind}</Type><Code>{}</Code><Message>{inside}\
                 </Message></Error><RequestId>{id}</RequestId></ErrorResponse>",
                refusal.code
            )
        }
    }
}
