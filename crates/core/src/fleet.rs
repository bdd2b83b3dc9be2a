//! What the whole fleet did on a day, as far as an account is judged by it.

use serde::{Deserialize, Serialize};

use crate::time::Day;

/// The fleet's record of one closed day: an input of each account's look at
/// that day.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FleetDay {
    /// The UTC day.
    pub day: Day,
    /// Speed of the fleet clock, 0.02 to 2: how much this day counts as a day
    /// of silence. 1 is an ordinary day.
    pub clock: f64,
    /// How many times the usual number of tickets the fleet opened, 1 to 5.
    pub ticket_index: f64,
    /// The tickets an account of the cohort opens in a week, where peers exist.
    pub tickets_per_week: Option<f64>,
    /// Whether the sources of usage are known to be behind or dead: absence
    /// proves nothing then, and signals that judge it hold still.
    pub usage_stale: bool,
}

impl FleetDay {
    /// A day without peers: the clock is the calendar.
    pub const fn calendar(day: Day) -> Self {
        Self {
            day,
            clock: 1.0,
            ticket_index: 1.0,
            tickets_per_week: None,
            usage_stale: false,
        }
    }
}
