//! The suite against a real broker: the same alerts however the work is cut,
//! what stands in the topics, what becomes of bad records, and what is checked
//! before anything starts. Interruptions are in `crash.rs`.

#[path = "kafka/bad_records.rs"]
mod bad_records;
#[path = "kafka/idle_clock.rs"]
mod idle_clock;
#[path = "kafka/open_transactions.rs"]
mod open_transactions;
#[path = "kafka/reading.rs"]
mod reading;
#[path = "kafka/same_alerts.rs"]
mod same_alerts;
#[path = "kafka/start_up.rs"]
mod start_up;
