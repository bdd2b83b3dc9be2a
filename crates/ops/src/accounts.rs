//! `/accounts/{id}` and `/alerts`: read-only views of the state, if the caller wires them.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::task;

/// What a process shows of its accounts and alerts.
///
/// Both methods run on a thread where they may block, so an implementation may read a store or wait
/// for a lock. They are called at the pace of people who look, not of events.
pub trait Views: Send + Sync {
    /// The account as this process knows it, or `None` if it holds no such account: another member
    /// of the group may.
    fn account(&self, account_id: &str) -> Option<Value>;

    /// The open alerts of all accounts that this process holds, in the order to be shown.
    fn alerts(&self) -> Vec<Value>;
}

/// Views as the routes hold them; `None` when the caller has wired none.
pub(crate) type WiredViews = Option<Arc<dyn Views>>;

const NOT_WIRED: &str = "this process shows no accounts and no alerts";

pub(crate) async fn account(
    State(views): State<WiredViews>,
    account_id: Result<Path<String>, PathRejection>,
) -> Response {
    let Ok(Path(account_id)) = account_id else {
        return error(
            StatusCode::BAD_REQUEST,
            "the account id in the path is not valid UTF-8",
        );
    };
    let Some(views) = views else {
        return error(StatusCode::NOT_FOUND, NOT_WIRED);
    };
    match task::spawn_blocking(move || views.account(&account_id)).await {
        Ok(Some(account)) => Json(account).into_response(),
        Ok(None) => error(
            StatusCode::NOT_FOUND,
            "this process holds no account of that id",
        ),
        Err(failure) => view_failed(&failure),
    }
}

pub(crate) async fn alerts(State(views): State<WiredViews>) -> Response {
    let Some(views) = views else {
        return error(StatusCode::NOT_FOUND, NOT_WIRED);
    };
    match task::spawn_blocking(move || views.alerts()).await {
        Ok(alerts) => Json(json!({"alerts": alerts})).into_response(),
        Err(failure) => view_failed(&failure),
    }
}

/// A JSON answer that says what is wrong.
pub(crate) fn error(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"error": message}))).into_response()
}

fn view_failed(failure: &task::JoinError) -> Response {
    tracing::error!(%failure, "a view of the state failed");
    error(
        StatusCode::INTERNAL_SERVER_ERROR,
        "the view failed; the log has the reason",
    )
}
