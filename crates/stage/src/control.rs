//! The endpoint: AWS's calls, and the stage's own under `/_stage`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::api;
use crate::apply::{ApplyError, apply};
use crate::database;
use crate::fault::Scenario;
use crate::home::{Keys, Record};
use crate::status::status;
use crate::topology::Topology;
use crate::world::World;

/// The header that carries the stage's own token.
pub(crate) const TOKEN: &str = "x-liftlock-stage-token";
/// The largest request that is read.
const LARGEST: usize = 8 << 20;

#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) world: Arc<World>,
    pub(crate) record: Record,
    pub(crate) keys: Keys,
}

/// A caller who gets no answer: the connection is closed.
#[derive(Debug, thiserror::Error)]
#[error("a fault of the stage: the answer is lost")]
struct Lost;

pub(crate) async fn serve(endpoint: Endpoint, listener: TcpListener) {
    let endpoint = Arc::new(endpoint);
    // Calls end with the endpoint.
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                stream.set_nodelay(true).unwrap_or_default();
                connections.spawn(connection(endpoint.clone(), TokioIo::new(stream)));
            }
            // Out of file descriptors, or the client was gone already: others may come.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(endpoint: Arc<Endpoint>, stream: TokioIo<TcpStream>) {
    let service = service_fn(move |request| {
        let endpoint = endpoint.clone();
        async move { answer(&endpoint, request).await.ok_or(Lost) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(60));
    // A client that goes away, or an answer that is to be lost.
    http.serve_connection(stream, service).await.unwrap_or_default();
}

async fn answer(endpoint: &Endpoint, request: Request<Incoming>) -> Option<Response<Body>> {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(Body::new(body), LARGEST).await else {
        return Some(text(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large"));
    };
    let path = head.uri.path();
    if let Some(own) = path.strip_prefix("/_stage/") {
        if head.headers.get(TOKEN).is_none_or(|token| token != endpoint.keys.token.as_str()) {
            return Some(text(StatusCode::FORBIDDEN, "the stage's token is missing or wrong"));
        }
        return Some(own_call(endpoint, &head.method, own, &body).await);
    }
    api::answer(&endpoint.world, &endpoint.keys.access_key, &head, &body).await
}

async fn own_call(
    endpoint: &Endpoint,
    method: &Method,
    path: &str,
    body: &Bytes,
) -> Response<Body> {
    let world = &endpoint.world;
    match (method.as_str(), path) {
        ("GET", "topology") => written(&json!(world.look().topology())),
        ("GET", "status") => written(&json!(status(&world.look(), &endpoint.record))),
        ("PUT", "topology") => match serde_json::from_slice(body) {
            Err(error) => text(StatusCode::BAD_REQUEST, &error.to_string()),
            Ok(topology) => put_topology(world, &topology).await,
        },
        ("GET", "faults") => written(&json!(world.look().faults.list())),
        ("POST", "faults") => match serde_json::from_slice(body) {
            Err(error) => text(StatusCode::BAD_REQUEST, &error.to_string()),
            Ok(scenario) => match add_faults(world, scenario) {
                Ok(names) => written(&json!(names)),
                Err(reason) => text(StatusCode::BAD_REQUEST, &reason),
            },
        },
        ("DELETE", "faults") => written(&json!(clear_faults(world, None))),
        ("DELETE", path) if let Some(name) = path.strip_prefix("faults/") => {
            let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
            written(&json!(clear_faults(world, Some(&name))))
        }
        _ => text(StatusCode::NOT_FOUND, "the stage has no such call"),
    }
}

pub(crate) fn add_faults(world: &World, scenario: Scenario) -> Result<Vec<String>, String> {
    let names = world.look().faults.add(scenario)?;
    world.faults_changed.send_replace(());
    world.changed.notify_one();
    Ok(names)
}

pub(crate) fn clear_faults(world: &World, name: Option<&str>) -> Vec<String> {
    let names = world.look().faults.clear(name);
    world.faults_changed.send_replace(());
    world.changed.notify_one();
    names
}

async fn put_topology(world: &World, topology: &Topology) -> Response<Body> {
    let applied = world.change(|inner| apply(inner, topology));
    match applied {
        Ok(()) => {}
        Err(error @ ApplyError::Contradiction(_)) => {
            return text(StatusCode::BAD_REQUEST, &error.to_string());
        }
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
    let up = world.look().database_up;
    let database = match (&topology.database, up) {
        (Some(_), false) => database::start(world).await,
        (None, true) => {
            database::stop(world).await;
            Ok(())
        }
        _ => Ok(()),
    };
    match database {
        Ok(()) => written(&json!(topology)),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn text(status: StatusCode, text: &str) -> Response<Body> {
    let mut answer = Response::new(Body::from(text.to_owned()));
    *answer.status_mut() = status;
    answer
}

fn written(value: &serde_json::Value) -> Response<Body> {
    let mut answer = Response::new(Body::from(value.to_string()));
    let kind = hyper::header::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}
