//! What an operator sees of Churnwatch: metrics, logs and health.
//!
//! - [`Metrics`] holds every metric of the process. Each is declared once, in the table of
//!   `metrics.rs`; the struct, its registration and the reference page all come from that table.
//! - [`BatchCounters`] is a worker's own set of plain counters. It is added to the metrics when a
//!   batch is committed and thrown away when it is aborted, so that a batch that is read twice is
//!   counted once.
//! - [`Health`] is how workers say that they are alive and why they are not ready.
//! - [`logging`] sets up the log on standard error.
//!
//! ```text
//!  worker ── BatchCounters ──flush──> Metrics ──encode──> GET /metrics
//!     └───── beat, set_cause ───────> Health ───────────> GET /livez, /readyz
//! ```
//!
//! ```
//! use churnwatch_telemetry::{BatchCounters, CommitResult, Metrics};
//!
//! let metrics = Metrics::new("0.1.0");
//! let committed = metrics.commits_total.with([CommitResult::Committed.as_str()]);
//! let mut counters = BatchCounters::new(&metrics);
//!
//! counters.event("billing", "usage");
//! metrics.batch_events.observe(counters.events_applied() as f64);
//! counters.flush();
//! committed.inc();
//!
//! let text = metrics.encode();
//! assert!(text.contains(r#"churnwatch_events_total{kind="usage",source="billing"} 1"#));
//! ```
//!
//! Nothing here is async and nothing depends on another crate of this project.
//!
//! **No metric carries an account id.** Label values are compile-time strings, partition numbers,
//! or sources held to a fixed number by the process, and the types of the metrics see to it.

mod batch;
mod health;
pub mod logging;
mod metrics;
mod sources;

pub use batch::BatchCounters;
pub use health::{Health, StalledWorker};
pub use metrics::{
    ByPartition, CommitResult, Family, GaugeShare, Kind, Label, LabelValues, LatencyFrom,
    MEDIA_TYPE, MemoryPart, MetricInfo, Metrics, RebalanceEvent, Unit, catalogue,
    reference_markdown,
};
pub use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
};
pub use sources::{MAX_SOURCE_BYTES, MAX_SOURCES, NO_SOURCE, OTHER_SOURCE};
