//! terraform, the AWS provider and an AWS that answers on loopback.

#![expect(clippy::unwrap_used, reason = "in a test, what is not there is a failure")]

mod cloud;
mod refusals;
mod rendering;
mod repository;
mod sample;
