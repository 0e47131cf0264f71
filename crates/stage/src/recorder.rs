//! AWS calls with their answers, written down: what a validator reads, or somebody who counts.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde_json::json;

use crate::error::StageError;
use crate::task::tracing_line;

/// A call as it came and as it was answered.
pub(crate) struct Exchange<'a> {
    pub(crate) service: &'a str,
    pub(crate) operation: &'a str,
    pub(crate) protocol: &'a str,
    pub(crate) request: &'a [u8],
    /// The error's code.
    pub(crate) error: Option<&'a str>,
    pub(crate) status: u16,
    pub(crate) answer: &'a [u8],
}

/// The file that calls are written to.
pub(crate) struct Recorder(Mutex<File>);

impl Recorder {
    /// Makes the file, for its owner only: calls hold secrets.
    pub(crate) fn create(path: &Path) -> Result<Self, StageError> {
        let mut options = std::fs::OpenOptions::new();
        let file = options.create(true).append(true).mode(0o600).open(path);
        file.map(|file| Self(Mutex::new(file))).map_err(|error| StageError::directory(path, &error))
    }

    pub(crate) fn write(&self, exchange: &Exchange<'_>) {
        // CBOR is no text.
        let told = |bytes: &[u8]| match std::str::from_utf8(bytes) {
            Ok(text) if exchange.protocol != "cbor" => json!(text),
            _ => json!(hex::encode(bytes)),
        };
        let line = json!({
            "service": exchange.service,
            "operation": exchange.operation,
            "protocol": exchange.protocol,
            "request": told(exchange.request),
            "error": exchange.error,
            "status": exchange.status,
            "answer": told(exchange.answer),
        });
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(format!("{line}\n").as_bytes()) {
            tracing_line(&format!("a call could not be recorded: {error}"));
        }
    }
}
