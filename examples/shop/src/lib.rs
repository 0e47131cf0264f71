#![doc = include_str!("../README.md")]

mod api;
mod health;
mod settings;

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;

use crate::settings::{Fault, Service, Shop};

/// How long new connections are still taken after SIGTERM: whoever routes to us may learn of our end a moment later.
const DRAIN: Duration = Duration::from_millis(200);
/// How long open requests may take after that.
const FINISH: Duration = Duration::from_secs(20);
/// How long the slow version takes until it listens.
const SLOW_START: Duration = Duration::from_secs(4);
/// How much longer each request takes in the version that is slow: too little for any health check to notice.
const SLOW: Duration = Duration::from_millis(60);
/// How many requests the version that wears out answers well: enough for a smoke test, and too few for users.
const WORN_OUT_AFTER: u64 = 3;

/// Serves until it is told to stop.
#[tokio::main]
pub async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Nobody is left to tell when standard error is gone.
            writeln!(std::io::stderr(), "shop: {message}").unwrap_or_default();
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), String> {
    let shop = Arc::new(Shop::from_environment()?);
    match shop.fault {
        Some(Fault::Crash) => return Err("this version crashes at its start (FAULT=crash)".into()),
        Some(Fault::CrashTellingAll) => {
            let url = std::env::var("DATABASE_URL").unwrap_or_default();
            return Err(format!("\u{1b}[31mno table baskets in {url} (FAULT=crash-telling-all)"));
        }
        Some(Fault::SlowStart) => tokio::time::sleep(SLOW_START).await,
        _ => {}
    }
    let place = (Ipv4Addr::UNSPECIFIED, shop.port);
    let listener = tokio::net::TcpListener::bind(place)
        .await
        .map_err(|error| format!("port {} cannot be listened on: {error}", shop.port))?;
    let line = format!("{:?} {} listens on port {}", shop.service, shop.version, shop.port);
    writeln!(std::io::stdout(), "{line}").unwrap_or_default();
    let (told, mut ending) = tokio::sync::watch::channel(false);
    let mut signals =
        Signals::new().map_err(|error| format!("signals cannot be taken: {error}"))?;
    let drained = async move {
        signals.wait().await;
        tokio::time::sleep(DRAIN).await;
        told.send_replace(true);
    };
    let serve = axum::serve(listener, router(shop)).with_graceful_shutdown(drained);
    let too_late = async {
        // An error means that the server has ended, and then nobody waits here.
        ending.wait_for(|&told| told).await.map(drop).unwrap_or_default();
        tokio::time::sleep(FINISH).await;
    };
    tokio::select! {
        ended = serve.into_future() => ended.map_err(|error| error.to_string()),
        () = too_late => Err(format!("requests were still open {} s after SIGTERM", FINISH.as_secs())),
    }
}

/// SIGTERM, from whoever runs us; SIGINT, from a terminal.
struct Signals {
    term: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let term = signal(SignalKind::terminate())?;
        Ok(Self { term, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn router(shop: Arc<Shop>) -> Router {
    let mut router = Router::new()
        .route("/health", get(health::shallow))
        .route("/health/deep", get(health::deep))
        .route("/api/deployment", get(health::deployment));
    router = match shop.service {
        Service::Backend => router
            .route("/api/items", get(api::list).post(api::create))
            .route("/api/items/{id}", get(api::read).put(api::change).delete(api::remove)),
        Service::Frontend => router.route("/", get(page)),
    };
    let faults = middleware::from_fn_with_state(shop.clone(), fail_some);
    router.layer(faults).with_state(shop)
}

/// Three versions are well as far as health checks go: one fails three of ten other requests, one answers the first of them
/// well and fails all after that, so that only traffic shows it, and one only takes longer.
async fn fail_some(State(shop): State<Arc<Shop>>, request: Request, next: Next) -> Response {
    let asked_for_health = request.uri().path().starts_with("/health");
    if !asked_for_health && fails(&shop) {
        let text = "this version fails some requests (see its FAULT)\n";
        return (StatusCode::INTERNAL_SERVER_ERROR, text).into_response();
    }
    if !asked_for_health && shop.fault == Some(Fault::Slow) {
        tokio::time::sleep(SLOW).await;
    }
    next.run(request).await
}

fn fails(shop: &Shop) -> bool {
    match shop.fault {
        Some(Fault::Errors) => shop.next_request() % 10 < 3,
        Some(Fault::WearsOut) => shop.next_request() >= WORN_OUT_AFTER,
        _ => false,
    }
}

async fn page(State(shop): State<Arc<Shop>>) -> Html<String> {
    let Shop { version, environment, release, .. } = &*shop;
    let [version, environment, release] = [version, environment, release].map(|text| escape(text));
    Html(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>Shop {version}</title></head>\n\
         <body>\n<h1>Shop</h1>\n<p>Version <strong id=\"version\">{version}</strong> in {environment}, release \
         <code>{release}</code>.</p>\n<p><a href=\"/api/items\">Items</a></p>\n</body>\n</html>\n"
    ))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
