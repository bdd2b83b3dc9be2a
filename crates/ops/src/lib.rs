//! HTTP for people and for Prometheus. Read-only: nothing here changes the process.
//!
//! | route | answers | needs the token |
//! |---|---|---|
//! | `/` | an index with links | yes |
//! | `/metrics` | all metrics, Prometheus text format | yes |
//! | `/livez` | 200, or 503 with the workers that stall | no |
//! | `/readyz` | 200, or 503 with the causes | no |
//! | `/accounts/{id}` | one account, if a view is wired | yes |
//! | `/alerts` | the open alerts, if a view is wired | yes |
//!
//! `/livez` is for whoever restarts the process, so it looks at nothing but the heartbeat of its
//! loops: a broker that is away is no reason to restart. `/readyz` says whether partitions are
//! assigned and restored. Both stay open when a token is set, because the probes of an orchestrator
//! carry none and learn nothing of accounts from them.
//!
//! - [`Server`]: binds first, so that a taken port is an error before anything else starts; then
//!   serves until it is told to stop.
//! - [`Views`]: what a caller wires in to show accounts and alerts.
//! - [`BearerToken`]: a secret that is compared in constant time and never printed.
//!
//! ```no_run
//! # use std::{sync::Arc, time::Duration};
//! # use churnwatch_ops::{OpsError, Server, Settings, Shown};
//! # use churnwatch_telemetry::{Health, Metrics};
//! # async fn run(stop: tokio::sync::oneshot::Receiver<()>) -> Result<(), OpsError> {
//! let settings = Settings {
//!     address: ([127, 0, 0, 1], 9464).into(),
//!     max_heartbeat_age: Duration::from_secs(60),
//!     token: None,
//! };
//! let shown = Shown {
//!     metrics: Arc::new(Metrics::new("0.1.0")),
//!     health: Health::awaiting(["kafka"]),
//!     views: None,
//! };
//! let server = Server::bind(settings, shown).await?;
//! server.serve(async { drop(stop.await) }).await;
//! # Ok(())
//! # }
//! ```
//!
//! This is the one async library crate. What it reads, it reads through `Arc`s that plain threads
//! write.

mod accounts;
mod bearer;
mod probes;
mod server;

pub use accounts::Views;
pub use bearer::{BadToken, BearerToken};
pub use server::{OpsError, Server, Settings, Shown};
