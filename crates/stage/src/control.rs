//! The endpoint: AWS's calls, and the stage's own under `/_stage`.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Response, StatusCode};
use serde_json::json;
use tokio::net::TcpListener;

use crate::api;
use crate::apply::{ApplyError, apply};
use crate::database;
use crate::home::{Keys, Record};
use crate::status::status;
use crate::task::tracing_line;
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

pub(crate) async fn serve(endpoint: Endpoint, listener: TcpListener) {
    let router = Router::new().fallback(answer).with_state(Arc::new(endpoint));
    if let Err(error) = axum::serve(listener, router).await {
        tracing_line(&format!("the endpoint ended: {error}"));
    }
}

async fn answer(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, LARGEST).await else {
        return text(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large");
    };
    let path = head.uri.path();
    if let Some(own) = path.strip_prefix("/_stage/") {
        if head.headers.get(TOKEN).is_none_or(|token| token != endpoint.keys.token.as_str()) {
            return text(StatusCode::FORBIDDEN, "the stage's token is missing or wrong");
        }
        return own_call(&endpoint, &head.method, own, &body).await;
    }
    api::answer(&endpoint.world, &endpoint.keys.access_key, path, &head.headers, &body)
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
        _ => text(StatusCode::NOT_FOUND, "the stage has no such call"),
    }
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
