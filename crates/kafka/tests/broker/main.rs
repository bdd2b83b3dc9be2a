//! This crate against a real broker, named by `KAFKA_BOOTSTRAP`.
//!
//! Every test makes topics, a group and members of its own, so that they run
//! side by side and again. What is waited for is waited for by asking, with a
//! limit, and never by sleeping.
#![allow(clippy::unwrap_used, reason = "tests")]

mod changelog;
mod reading;
mod rebalance;
mod support;
mod topics;
mod transaction;
