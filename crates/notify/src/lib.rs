#![doc = include_str!("../README.md")]

mod message;
mod retry;
mod sender;
mod slack;

pub use message::{Message, wants};
pub use sender::{NotifyError, Sender};
