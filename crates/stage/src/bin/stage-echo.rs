//! A small server that the stage's own tests run as tasks. It answers every request with its `RELEASE_VERSION`, after
//! `DELAY_MS`; `FAULT=crash` ends it at its start, `FAULT=unhealthy` fails its health check; `/database` says whether its database answers.

use std::net::Ipv4Addr;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::{any, get, post};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::signal::unix::{SignalKind, signal};

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// Asks the server of `DATABASE_URL` whether it speaks TLS: the first thing that a client of PostgreSQL says.
async fn database() -> StatusCode {
    let asked = async {
        let url: url::Url = variable("DATABASE_URL").parse().ok()?;
        let mut server =
            tokio::net::TcpStream::connect((url.host_str()?, url.port()?)).await.ok()?;
        server.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).await.ok()?;
        server.read_u8().await.ok()
    };
    match asked.await {
        Some(b'N' | b'S') => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let (fault, version) = (variable("FAULT"), variable("RELEASE_VERSION"));
    if fault == "crash" {
        return Err(std::io::Error::other("FAULT=crash"));
    }
    let health =
        if fault == "unhealthy" { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let delay = Duration::from_millis(variable("DELAY_MS").parse().unwrap_or(0));
    let router = Router::new()
        .route("/health", get(move || async move { health }))
        .route("/fail", get(|| async { StatusCode::INTERNAL_SERVER_ERROR }))
        .route("/database", get(database))
        .route("/post", post(|body: Bytes| async move { body }))
        .fallback(any(move || async move {
            tokio::time::sleep(delay).await;
            version
        }));
    let port = variable("PORT").parse().unwrap_or(0);
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    axum::serve(listener, router)
        .with_graceful_shutdown(async move {
            terminate.recv().await;
        })
        .await
}
