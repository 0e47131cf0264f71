//! The AWS endpoint: which service is called, in which protocol, and whether the caller may.

mod clock;
mod cloudwatch;
mod ecs;
mod ecs_configuration;
mod ecs_definitions;
mod ecs_deployments;
mod ecs_describe;
mod elb;
mod eventbridge;
mod input;
mod logs;
mod rds;
mod ssm;
mod sts;

pub(crate) use ecs_definitions::add as add_definition;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
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
    /// REST with JSON.
    Rest,
}

impl Protocol {
    fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Query => "query",
            Self::Cbor => "cbor",
            Self::Rest => "rest",
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
    head: &Parts,
    body: &Bytes,
) -> Option<Response<Body>> {
    let headers = &head.headers;
    let scope = scope(headers);
    let protocol = protocol(headers, scope.as_ref());
    let service = scope.as_ref().map(|scope| scope.service.clone()).unwrap_or_default();
    let call = read(protocol, &service, head, body);
    let operation = call.as_ref().map(|call| call.operation.clone()).unwrap_or_default();
    // Parts of a REST call stand in its path.
    let whole = call.as_ref().ok().filter(|_| protocol == Protocol::Rest);
    let whole = whole.map(|call| call.input.to_string());
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
    let error = result.as_ref().err().map(|refusal| refusal.code.clone());
    let answer = write(protocol, &service, &operation, result, skew);
    if let Some(recorder) = &world.recorder {
        recorder.write(&Exchange {
            service: &service,
            operation: &operation,
            protocol: protocol.as_str(),
            request: whole.as_ref().map_or(body, |whole| whole.as_bytes()),
            error: error.as_deref(),
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
        Protocol::Rest => "InternalServerException",
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
        Protocol::Rest => Refusal::new("UnrecognizedClientException", message).with_status(403),
        _ => Refusal::new("InvalidClientTokenId", message).with_status(403),
    }
}

fn protocol(headers: &HeaderMap, scope: Option<&Scope>) -> Protocol {
    if scope.is_some_and(|scope| scope.service == "scheduler") {
        Protocol::Rest
    } else if headers.get("smithy-protocol").is_some_and(|name| name == "rpc-v2-cbor") {
        Protocol::Cbor
    } else if headers.contains_key("x-amz-target") {
        Protocol::Json
    } else {
        Protocol::Query
    }
}

fn read(protocol: Protocol, service: &str, head: &Parts, body: &Bytes) -> Result<Call, Refusal> {
    let (path, headers) = (head.uri.path(), &head.headers);
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
        Protocol::Rest => {
            let (operation, name) = eventbridge::operation(&head.method, path);
            let text: &[u8] = if body.is_empty() { b"{}" } else { body };
            let mut input: Json = serde_json::from_slice(text).map_err(|_| malformed())?;
            let query = head.uri.query().unwrap_or_default();
            eventbridge::complete(&mut input, name, query);
            (operation.to_owned(), input)
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
        ("logs", Protocol::Json) => logs::perform(world, operation, input).map(Answer::Json),
        ("ssm", Protocol::Json) => ssm::perform(world, operation, input).map(Answer::Json),
        ("elasticloadbalancing", Protocol::Query) => {
            elb::perform(world, operation, input).map(Answer::Tree)
        }
        ("rds", Protocol::Query) => rds::perform(world, operation, input).map(Answer::Tree),
        ("monitoring", _) => cloudwatch::perform(world, operation, input).map(Answer::Tree),
        ("scheduler", Protocol::Rest) => {
            eventbridge::perform(world, operation, input).map(Answer::Json)
        }
        ("sts", Protocol::Query) => sts::perform(world, operation).map(Answer::Tree),
        (service, _) => Err(unknown(&format!("{service}:{operation}"), call.protocol)),
    }
}

/// The service and operation of a schedule's universal target, `arn:aws:scheduler:::aws-sdk:<service>:<operation>`.
fn schedule_target(target: &Json) -> Result<(&'static str, Protocol, String), String> {
    let arn = target["Arn"].as_str().unwrap_or_default();
    let strange = || {
        format!(
            "{arn} is not a valid target: the stage has aws-sdk:elasticloadbalancingv2, ecs, rds and ssm."
        )
    };
    let (service, operation) = arn
        .strip_prefix("arn:aws:scheduler:::aws-sdk:")
        .and_then(|rest| rest.split_once(':'))
        .ok_or_else(strange)?;
    let (service, protocol) = match service {
        "elasticloadbalancingv2" => ("elasticloadbalancing", Protocol::Query),
        "ecs" => ("ecs", Protocol::Json),
        "rds" => ("rds", Protocol::Query),
        "ssm" => ("ssm", Protocol::Json),
        _ => return Err(strange()),
    };
    let input = target["Input"].as_str().unwrap_or("{}");
    if serde_json::from_str::<Json>(input).is_err() {
        return Err("The Input of the target is not valid JSON.".to_owned());
    }
    let mut letters = operation.chars();
    let first = letters.next().ok_or_else(strange)?;
    Ok((service, protocol, first.to_uppercase().chain(letters).collect()))
}

/// Does what a schedule says. Returns the operation; the error says why it was not done.
pub(crate) fn call_of_schedule(world: &Arc<World>, target: &Json) -> Result<String, String> {
    let (service, protocol, operation) = schedule_target(target)?;
    let input = target["Input"].as_str().unwrap_or("{}");
    let mut input: Json = serde_json::from_str(input).map_err(|error| error.to_string())?;
    if service == "ecs" {
        input = in_small_letters(input);
    }
    let named = format!("{service}:{operation}");
    *world.look().calls.entry(named.clone()).or_default() += 1;
    let call = Call { service: service.to_owned(), protocol, operation, input };
    let done = perform(&At { world, lag: Duration::ZERO }, &call);
    let said = match &done {
        Ok(_) => Ok(named),
        Err(refusal) => Err(format!("{named} was refused: {refusal}")),
    };
    record_of_schedule(world, &call, done);
    said
}

/// A schedule's call is written down as any other, in the words in which it comes to its service. What comes to others than JSON services
/// as a form is not written down: a schedule has none.
fn record_of_schedule(world: &World, call: &Call, done: Result<Answer, Refusal>) {
    let Some(recorder) = world.recorder.as_ref().filter(|_| call.protocol == Protocol::Json) else {
        return;
    };
    let error = done.as_ref().err().map(|refusal| refusal.code.clone());
    let answer = write(call.protocol, &call.service, &call.operation, done, SignedDuration::ZERO);
    recorder.write(&Exchange {
        service: &call.service,
        operation: &call.operation,
        protocol: call.protocol.as_str(),
        request: call.input.to_string().as_bytes(),
        error: error.as_deref(),
        status: answer.status().as_u16(),
        answer: answer.body(),
    });
}

/// Schedules write members as `DesiredCount`, ECS itself as `desiredCount`.
fn in_small_letters(value: Json) -> Json {
    match value {
        Json::Object(members) => members
            .into_iter()
            .map(|(name, value)| {
                let mut letters = name.chars();
                let first = letters.next().map(|letter| letter.to_ascii_lowercase());
                (first.into_iter().chain(letters).collect::<String>(), in_small_letters(value))
            })
            .collect(),
        Json::Array(all) => all.into_iter().map(in_small_letters).collect(),
        other => other,
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
        (Protocol::Rest, Ok(Answer::Json(json))) => {
            ("application/json", json.to_string().into_bytes())
        }
        (Protocol::Rest, Ok(Answer::Tree(tree))) => {
            ("application/json", tree.to_json().to_string().into_bytes())
        }
        (Protocol::Rest, Err(refusal)) => {
            let body = json!({ "Message": refusal.message });
            ("application/json", body.to_string().into_bytes())
        }
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
    if let (Some(code), Protocol::Rest) = (&code, protocol)
        && let Ok(code) = HeaderValue::try_from(&**code)
    {
        headers.insert("x-amzn-errortype", code);
    }
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
