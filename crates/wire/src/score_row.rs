//! One line of `replay --scores`: a signal's statistic at a daily look, whether
//! it fired or not. What a curve over thresholds needs.

use churnwatch_core::signal::SignalId;
use serde::{Deserialize, Serialize};

use crate::{rfc3339::UtcTime, vocabulary};

/// A signal's statistic where every condition but the threshold holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreRow {
    /// The account that was judged.
    pub account_id: String,
    /// The user that was judged; absent where it is the account as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The signal.
    #[serde(with = "vocabulary")]
    pub signal: SignalId,
    /// Event time of the look.
    pub ts: UtcTime,
    /// The signal's own statistic; comparable within a signal only.
    pub score: f64,
    /// Whether the detector would open an alert here.
    pub op: bool,
}

impl ScoreRow {
    /// One JSON object without a line break.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a row of texts and numbers is always JSON")
    }
}

#[cfg(test)]
mod tests {
    use churnwatch_core::time::EventTime;

    use super::*;

    #[test]
    fn a_row_is_one_line_and_reads_back() {
        let mut row = ScoreRow {
            account_id: "acme".to_owned(),
            user_id: None,
            signal: SignalId::UsageSilent,
            ts: UtcTime(EventTime::from_millis(1_772_357_400_000)),
            score: 2.5,
            op: false,
        };
        let json = row.to_json();
        assert_eq!(
            String::from_utf8_lossy(&json),
            r#"{"account_id":"acme","signal":"usage_silent","ts":"2026-03-01T09:30:00Z","score":2.5,"op":false}"#
        );
        assert_eq!(
            serde_json::from_slice::<ScoreRow>(&json).expect("reads back"),
            row
        );
        row.user_id = Some("u-7".to_owned());
        assert_eq!(
            serde_json::from_slice::<ScoreRow>(&row.to_json()).expect("reads back"),
            row
        );
    }
}
