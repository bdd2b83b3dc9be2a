//! `/livez` and `/readyz`: what the health of the process looks like from outside.

use std::time::{Duration, Instant};

use axum::Json;
use axum::http::StatusCode;
use churnwatch_telemetry::Health;
use serde::Serialize;

/// Body of `/livez`.
#[derive(Debug, Serialize)]
pub(crate) struct Liveness {
    live: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stalled: Vec<Stalled>,
}

#[derive(Debug, Serialize)]
struct Stalled {
    worker: String,
    silent_seconds: u64,
}

/// Body of `/readyz`.
#[derive(Debug, Serialize)]
pub(crate) struct Readiness {
    ready: bool,
    causes: Vec<Cause>,
}

#[derive(Debug, Serialize)]
struct Cause {
    component: String,
    cause: String,
}

/// 200 while every worker has beaten within `max_age` before `now`, else 503 with those that have
/// not.
pub(crate) fn livez(
    health: &Health,
    now: Instant,
    max_age: Duration,
) -> (StatusCode, Json<Liveness>) {
    let stalled = health.liveness(now, max_age).err().unwrap_or_default();
    let stalled: Vec<Stalled> = stalled
        .into_iter()
        .map(|worker| Stalled {
            worker: worker.worker,
            silent_seconds: worker.silent_for.as_secs(),
        })
        .collect();
    let live = stalled.is_empty();
    (status(live), Json(Liveness { live, stalled }))
}

/// 200 while no component has a cause against readiness, else 503 with all causes.
pub(crate) fn readyz(health: &Health) -> (StatusCode, Json<Readiness>) {
    let causes: Vec<Cause> = health
        .readiness()
        .into_iter()
        .map(|(component, cause)| Cause { component, cause })
        .collect();
    let ready = causes.is_empty();
    (status(ready), Json(Readiness { ready, causes }))
}

fn status(good: bool) -> StatusCode {
    if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn livez_names_the_worker_that_stalls_and_for_how_long() {
        let start = Instant::now();
        let health = Health::new();
        health.beat("detect-0", start);
        health.beat("detect-1", start + Duration::from_secs(40));
        let now = start + Duration::from_secs(45);
        let (status, Json(body)) = livez(&health, now, Duration::from_secs(30));
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            serde_json::to_string(&body).unwrap(),
            r#"{"live":false,"stalled":[{"worker":"detect-0","silent_seconds":45}]}"#
        );
    }

    #[test]
    fn livez_does_not_look_at_readiness() {
        let health = Health::awaiting(["kafka"]);
        let (status, Json(body)) = livez(&health, Instant::now(), Duration::from_secs(30));
        assert_eq!(status, StatusCode::OK);
        assert_eq!(serde_json::to_string(&body).unwrap(), r#"{"live":true}"#);
    }
}
