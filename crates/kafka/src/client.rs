//! How our clients of librdkafka are set up, and where their logs and errors go.
//!
//! ```text
//! KafkaSettings ── consumer_config / producer_config / admin_config ──> librdkafka
//! librdkafka ── log lines ──> tracing (target "librdkafka", with their facility)
//!            └─ errors ─────> Connection ──> Health: why /readyz is not ready
//! ```
//!
//! What the user passes through is set first and our own properties after it,
//! so that nothing given by hand can undo what the design rests on;
//! [`KafkaSettings::validate`] refuses such properties by name beforehand.

mod config;
mod connection;
mod log;

pub use config::ClientError;
pub(crate) use config::{
    MAX_MESSAGE_BYTES, SOURCE_ROLE, admin_config, bounds_consumer_config,
    changelog_consumer_config, client_id, clock_producer_config, event_producer_config,
    group_consumer_config, passing_member_config, transactional_producer_config,
};
pub(crate) use connection::{Connection, explained};
pub(crate) use log::log_line;

use std::sync::Arc;

use churnwatch_telemetry::{Health, Metrics};

/// Where a client reports what an operator should see.
#[derive(Debug, Clone)]
pub struct Reporting {
    /// The process's metrics.
    pub metrics: Arc<Metrics>,
    /// The process's health; a client that cannot work sets a cause in it.
    pub health: Health,
}
