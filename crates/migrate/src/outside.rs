//! Scripts that run outside of a transaction, statement by statement.

pub(crate) mod rule;
