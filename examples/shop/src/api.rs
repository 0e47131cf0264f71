//! Items: the shop's one table.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgPool, Row as _};

use crate::settings::{Fault, Shop};

/// An item, as callers see it.
#[derive(Debug, Serialize)]
pub(crate) struct Item {
    id: i64,
    name: String,
}

impl FromRow<'_, PgRow> for Item {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self { id: row.try_get("id")?, name: row.try_get("name")? })
    }
}

/// What callers say of an item.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewItem {
    name: String,
}

/// Why a request was not answered.
#[derive(Debug)]
pub(crate) enum Failure {
    NoSuchItem,
    NoDatabase,
    Sql(sqlx::Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::NoSuchItem => (StatusCode::NOT_FOUND, "no such item".to_owned()),
            Self::NoDatabase => (StatusCode::SERVICE_UNAVAILABLE, "no database".to_owned()),
            Self::Sql(sqlx::Error::Database(error)) => {
                (StatusCode::INTERNAL_SERVER_ERROR, error.message().to_owned())
            }
            Self::Sql(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer".into())
            }
        };
        (status, Json(json!({ "error": text }))).into_response()
    }
}

fn database(shop: &Shop) -> Result<&PgPool, Failure> {
    match &shop.database {
        Some(pool) if shop.fault != Some(Fault::NoDatabase) => Ok(pool),
        _ => Err(Failure::NoDatabase),
    }
}

pub(crate) async fn list(State(shop): State<Arc<Shop>>) -> Result<Json<Vec<Item>>, Failure> {
    let query = sqlx::query_as("select id, name from items order by id limit 1000");
    Ok(Json(query.fetch_all(database(&shop)?).await?))
}

pub(crate) async fn create(
    State(shop): State<Arc<Shop>>,
    Json(new): Json<NewItem>,
) -> Result<(StatusCode, Json<Item>), Failure> {
    let query = sqlx::query_as("insert into items (name) values ($1) returning id, name");
    let item = query.bind(new.name).fetch_one(database(&shop)?).await?;
    Ok((StatusCode::CREATED, Json(item)))
}

pub(crate) async fn read(
    State(shop): State<Arc<Shop>>,
    Path(id): Path<i64>,
) -> Result<Json<Item>, Failure> {
    let query = sqlx::query_as("select id, name from items where id = $1").bind(id);
    query.fetch_optional(database(&shop)?).await?.map(Json).ok_or(Failure::NoSuchItem)
}

pub(crate) async fn change(
    State(shop): State<Arc<Shop>>,
    Path(id): Path<i64>,
    Json(new): Json<NewItem>,
) -> Result<Json<Item>, Failure> {
    let query = sqlx::query_as("update items set name = $2 where id = $1 returning id, name");
    let changed = query.bind(id).bind(new.name).fetch_optional(database(&shop)?).await?;
    changed.map(Json).ok_or(Failure::NoSuchItem)
}

pub(crate) async fn remove(
    State(shop): State<Arc<Shop>>,
    Path(id): Path<i64>,
) -> Result<StatusCode, Failure> {
    let query = sqlx::query("delete from items where id = $1").bind(id);
    match query.execute(database(&shop)?).await?.rows_affected() {
        0 => Err(Failure::NoSuchItem),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}
