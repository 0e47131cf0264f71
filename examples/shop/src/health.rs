//! The health contract.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::settings::{Fault, Shop};

fn status(shop: &Shop) -> (StatusCode, &'static str) {
    match shop.fault {
        Some(Fault::Unhealthy) => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy"),
        _ => (StatusCode::OK, "healthy"),
    }
}

fn describe(shop: &Shop, status: &str) -> Value {
    json!({
        "status": status,
        "environment": shop.environment,
        "version": shop.version,
        "release": shop.release,
        "service": shop.service.as_str(),
        "timestamp": Timestamp::now(),
    })
}

pub(crate) async fn shallow(State(shop): State<Arc<Shop>>) -> (StatusCode, Json<Value>) {
    let (code, status) = status(&shop);
    (code, Json(describe(&shop, status)))
}

pub(crate) async fn deep(State(shop): State<Arc<Shop>>) -> (StatusCode, Json<Value>) {
    let (mut code, mut status) = status(&shop);
    let database = match shop.database_answers().await {
        None => "none",
        Some(true) => "reachable",
        Some(false) => {
            (code, status) = (StatusCode::SERVICE_UNAVAILABLE, "unhealthy");
            "unreachable"
        }
    };
    let mut body = describe(&shop, status);
    body["database"] = database.into();
    (code, Json(body))
}

pub(crate) async fn deployment(State(shop): State<Arc<Shop>>) -> Json<Value> {
    let status = match (status(&shop).1, shop.database_answers().await) {
        ("healthy", Some(false)) => "degraded",
        (status, _) => status,
    };
    Json(json!({
        "environment": shop.environment,
        "version": shop.version,
        "deployed_at": shop.deployed_at,
        "status": status,
    }))
}
