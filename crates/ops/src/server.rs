//! The server: bind, routes, shutdown.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use churnwatch_telemetry::{Health, MEDIA_TYPE, Metrics};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::accounts::{self, Views};
use crate::bearer::{self, BearerToken};
use crate::probes;

/// How long requests under way may take to end once the server is told to stop. A client that never
/// finishes its request must not hold up the process.
const DRAIN: Duration = Duration::from_secs(3);

const INDEX: &str = "\
<!doctype html>
<html lang=\"en\">
<title>Churnwatch</title>
<h1>Churnwatch</h1>
<ul>
<li><a href=\"/metrics\">/metrics</a> for Prometheus
<li><a href=\"/livez\">/livez</a>: do the loops go round?
<li><a href=\"/readyz\">/readyz</a>: are the partitions assigned and restored?
{views}</ul>
";

/// The lines of the index for a process that shows its accounts.
const VIEWS: &str = "\
<li><a href=\"/alerts\">/alerts</a>: what is open now
<li>/accounts/{id}: one account
";

/// How to serve.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen. Port 0 takes any free port; [`Server::address`] says which.
    pub address: SocketAddr,
    /// A worker is stalled when its last beat is older than this. Longer than the longest that a
    /// healthy loop takes for one round, a commit that waits for the broker included.
    pub max_heartbeat_age: Duration,
    /// When set, everything but `/livez` and `/readyz` needs it.
    pub token: Option<BearerToken>,
}

/// What to serve.
#[derive(Clone)]
pub struct Shown {
    /// Metrics of the process.
    pub metrics: Arc<Metrics>,
    /// Health of the process.
    pub health: Health,
    /// Accounts and alerts; without them those routes answer 404 and say so.
    pub views: Option<Arc<dyn Views>>,
}

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum OpsError {
    /// Another process, or another server of this one, listens there.
    #[error(
        "cannot serve metrics and health, the address is taken; stop what listens there or choose another: {address}"
    )]
    AddressTaken {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The system does not let us listen there.
    #[error(
        "cannot serve metrics and health, check that the address is one of this machine and that its port may be used: {address}"
    )]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// A server that has its port but does not answer yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
    drain: Duration,
}

impl Server {
    /// Takes the port. Do this before anything else starts: it is what fails when the process runs
    /// twice.
    ///
    /// # Errors
    ///
    /// The address is taken, not ours, or not allowed.
    pub async fn bind(settings: Settings, shown: Shown) -> Result<Self, OpsError> {
        let address = settings.address;
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => OpsError::AddressTaken { address },
            _ => OpsError::Bind { address, source },
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;

        let readable_by_all = settings.token.is_none() && !address.ip().is_loopback();
        if shown.views.is_some() && readable_by_all {
            tracing::warn!(
                %address,
                "account data is served without a token to whoever can reach this address"
            );
        }
        Ok(Self {
            listener,
            address,
            router: router(settings, shown),
            drain: DRAIN,
        })
    }

    /// Where the server listens, with the port that was really taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` completes, then ends the requests under way and returns: within 3 s,
    /// whatever the clients do.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send + 'static) {
        tracing::info!(address = %self.address, "serving metrics and health");
        let (stopping, stopped) = oneshot::channel();
        let serving = axum::serve(self.listener, self.router).with_graceful_shutdown(async move {
            stop.await;
            // The other end is gone only when nobody waits for the deadline any more.
            let _ = stopping.send(());
        });
        let deadline = async {
            let _ = stopped.await;
            tokio::time::sleep(self.drain).await;
        };
        tokio::select! {
            result = serving => {
                if let Err(error) = result {
                    tracing::error!(%error, "the server for metrics and health ended");
                }
            }
            () = deadline => tracing::warn!("stopped serving with requests still under way"),
        }
    }
}

fn router(settings: Settings, shown: Shown) -> Router {
    let Settings {
        address: _,
        max_heartbeat_age,
        token,
    } = settings;
    let Shown {
        metrics,
        health,
        views,
    } = shown;

    let index = INDEX.replace("{views}", if views.is_some() { VIEWS } else { "" });
    let about_accounts = Router::new()
        .route("/accounts/{id}", get(accounts::account))
        .route("/alerts", get(accounts::alerts))
        .with_state(views);
    let mut guarded = Router::new()
        .route("/", get(|| async { Html(index) }))
        .route("/metrics", get(metrics_text))
        .with_state(metrics)
        .merge(about_accounts)
        .fallback(|| async {
            accounts::error(StatusCode::NOT_FOUND, "no such page; / lists them")
        });
    if let Some(token) = token {
        // After the fallback, so that a caller without the token cannot tell which pages exist.
        guarded = guarded.layer(middleware::from_fn_with_state(token, bearer::require));
    }

    let for_liveness = health.clone();
    guarded
        .route(
            "/livez",
            get(move || async move {
                probes::livez(&for_liveness, Instant::now(), max_heartbeat_age)
            }),
        )
        .route("/readyz", get(move || async move { probes::readyz(&health) }))
}

async fn metrics_text(State(metrics): State<Arc<Metrics>>) -> Response {
    ([(CONTENT_TYPE, MEDIA_TYPE)], metrics.encode()).into_response()
}

#[cfg(test)]
mod tests;
