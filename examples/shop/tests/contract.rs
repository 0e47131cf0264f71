//! The shop keeps the health contract, and its broken versions are broken in the way they say.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

struct Shop {
    child: Child,
    port: u16,
}

impl Drop for Shop {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}

fn command(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_liftlock-example-shop"));
    command.env_clear().env("ENVIRONMENT", "test").env("RELEASE_VERSION", "1.2.3");
    command.env("RELEASE_ID", "r1").envs(variables.iter().copied());
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Shop {
    fn start(variables: &[(&str, &str)]) -> Self {
        let port = free_port();
        let child = command(variables).env("PORT", port.to_string()).spawn().unwrap();
        let shop = Self { child, port };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "it does not listen");
            std::thread::yield_now();
        }
        shop
    }

    fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn json(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.get(path);
        (status, serde_json::from_str(&body).unwrap())
    }
}

/// Shows E-APP-1: `/health` tells status, environment, version and time; `/health/deep` also tells of the database.
#[test]
fn health_is_told() {
    let shop = Shop::start(&[]);
    let (status, health) = shop.json("/health");
    assert_eq!((status, &health["status"]), (200, &"healthy".into()));
    assert_eq!(health["environment"], "test");
    assert_eq!(health["version"], "1.2.3");
    assert_eq!(health["release"], "r1");
    assert!(health["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    assert_eq!(shop.json("/health/deep").1["database"], "none");
}

/// Shows E-APP-1: an unreachable database fails the deep check only, and the password is in no answer.
#[test]
fn an_unreachable_database_is_told() {
    let url = format!("postgres://shop:hunter2@127.0.0.1:{}/shop", free_port());
    let shop = Shop::start(&[("DATABASE_URL", &url)]);
    assert_eq!(shop.get("/health").0, 200);
    let (status, health) = shop.json("/health/deep");
    assert_eq!((status, &health["database"]), (503, &"unreachable".into()));
    assert_eq!(shop.json("/api/deployment").1["status"], "degraded");
    let (status, items) = shop.get("/api/items");
    assert!(status == 503 && !items.contains("hunter2"), "{status} {items}");
}

/// Shows E-API-1.
#[test]
fn the_deployment_is_told() {
    let (_, told) = Shop::start(&[]).json("/api/deployment");
    assert_eq!((&told["environment"], &told["version"]), (&"test".into(), &"1.2.3".into()));
    assert_eq!(told["status"], "healthy");
    assert!(told["deployed_at"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
}

#[test]
fn broken_versions_are_broken() {
    let Output { status, stderr, .. } = command(&[("FAULT", "crash")]).output().unwrap();
    assert!(!status.success() && String::from_utf8_lossy(&stderr).contains("FAULT=crash"));

    assert_eq!(Shop::start(&[("FAULT", "unhealthy")]).get("/health").0, 503);

    let shop = Shop::start(&[("FAULT", "errors"), ("SERVICE", "frontend")]);
    assert_eq!(shop.get("/health").0, 200);
    let failed = (0..20).filter(|_| shop.get("/").0 == 500).count();
    assert_eq!(failed, 6, "three of ten");

    let Output { status, stderr, .. } = command(&[("FAULT", "typo")]).output().unwrap();
    assert!(!status.success() && String::from_utf8_lossy(&stderr).contains("slow-start"));
}
