//! terraform, the AWS provider and an AWS that answers on loopback.

mod cloud;
mod refusals;
mod rendering;
mod sample;
