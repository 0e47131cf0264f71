//! Where messages to people arrive.

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// The URL of a server that takes messages at `/hook`, and what it gets. It ends with the test.
pub async fn webhook() -> (String, UnboundedReceiver<Value>) {
    let (sender, receiver) = unbounded_channel();
    let answer = move |body: Bytes| {
        let sender = sender.clone();
        async move {
            sender.send(serde_json::from_slice(&body).expect("JSON")).expect("the test listens");
            "ok"
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/hook", listener.local_addr().expect("its own address"));
    let router = Router::new().route("/hook", post(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, receiver)
}
