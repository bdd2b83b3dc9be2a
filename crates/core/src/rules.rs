//! What may be tuned: the configuration of the core, with its defaults.
//!
//! Each field's doc comment is its entry in the manual. Unknown keys are
//! refused where the configuration is read; [`Rules::check`] refuses values
//! that contradict each other.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    account::Profile,
    event::{Segment, Usage},
    signal::SignalRules,
    watermark::Tolerance,
};

/// Everything that influences a judgement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// How time is read from events.
    pub time: TimeRules,
    /// Which segment an account belongs to when its record does not say.
    pub segments: SegmentRules,
    /// Which usage counts, for accounts that do not say so themselves.
    pub usage: UsageRules,
    /// How alerts live.
    pub alerts: AlertRules,
    /// One section per signal.
    pub signals: SignalRules,
    /// Whether looks report each signal's statistic. Not a setting: a replay
    /// that writes scores turns it on.
    #[serde(skip)]
    pub report_scores: bool,
}

/// How time is read from events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TimeRules {
    /// How far events of one source may be out of order, in seconds. A day is
    /// judged this long after its end. Default 600: connectors batch.
    pub disorder_seconds: u32,
    /// How long after its source's watermark an event still changes its day's
    /// bucket, in days (1 to 14). Older events are counted as expired and not
    /// applied. Default 7.
    pub grace_days: u32,
    /// How far an event may lie ahead of the time at which the log took it in,
    /// in seconds; beyond, it goes to the dead letters, since one client with
    /// a wrong clock must not fire every timer. Default 300.
    pub max_ahead_seconds: u32,
    /// How long an event id is remembered, in seconds of event time. Default 3600.
    pub dedupe_seconds: u32,
    /// How many event ids an account remembers at most. Default 64.
    pub dedupe_ids: u32,
}

impl Default for TimeRules {
    fn default() -> Self {
        Self {
            disorder_seconds: 600,
            grace_days: 7,
            max_ahead_seconds: 300,
            dedupe_seconds: 3_600,
            dedupe_ids: 64,
        }
    }
}

impl TimeRules {
    /// The bounds for late and expired events.
    pub fn tolerance(&self) -> Tolerance {
        Tolerance {
            disorder_ms: i64::from(self.disorder_seconds) * 1_000,
            grace_ms: i64::from(self.grace_days) * crate::time::DAY_MS,
        }
    }
}

/// Which segment an account belongs to when its record does not say. The
/// cut-offs compare minor units and leave the currency aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub struct SegmentRules {
    /// `high` from this MRR on, in minor units (cents). Default: no cut-off.
    pub high_from_mrr: Option<i64>,
    /// `tech` below this MRR, in minor units (cents). Default: no cut-off.
    pub tech_below_mrr: Option<i64>,
}

/// Which usage counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub struct UsageRules {
    /// Features whose use is a core action. Default: every feature. An
    /// account's own `core_features` go before this list.
    pub core_features: BTreeSet<String>,
    /// Features whose `quantity` is summed as business volume. Default: none.
    pub volume_features: BTreeSet<String>,
}

/// How alerts live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AlertRules {
    /// A sign that returns within this many days after its alert was resolved
    /// reopens that alert instead of raising a new one. Default 14.
    pub cooldown_days: u32,
    /// With this many days or fewer left to a renewal of a term of half a year
    /// or more, a warning about use or its absence becomes critical. Default
    /// 90; 0 turns it off.
    pub renewal_days: u32,
}

impl Default for AlertRules {
    fn default() -> Self {
        Self {
            cooldown_days: 14,
            renewal_days: 90,
        }
    }
}

/// One value per segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BySegment<T> {
    /// For high touch accounts.
    pub high: T,
    /// For low touch accounts.
    pub low: T,
    /// For tech touch accounts.
    pub tech: T,
}

impl<T: Copy> BySegment<T> {
    /// `high / low / tech`.
    pub const fn new(high: T, low: T, tech: T) -> Self {
        Self { high, low, tech }
    }

    /// The value for a segment.
    pub const fn of(&self, segment: Segment) -> T {
        match segment {
            Segment::High => self.high,
            Segment::Low => self.low,
            Segment::Tech => self.tech,
        }
    }

    /// All three, with the key each stands under.
    pub const fn each(&self) -> [(&'static str, T); 3] {
        [("high", self.high), ("low", self.low), ("tech", self.tech)]
    }
}

/// A value that cannot work, with the key it stands under.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct RuleError {
    /// Dotted path below the rules, such as `signals.usage_drop.min_fall.high`.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl RuleError {
    /// An error at `key`.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            message: message.into(),
        }
    }
}

/// Refuses a number outside `range`.
///
/// # Errors
/// Names the key, the value and the range.
pub fn within(
    key: &str,
    value: f64,
    range: std::ops::RangeInclusive<f64>,
) -> Result<(), RuleError> {
    if range.contains(&value) {
        return Ok(());
    }
    let (low, high) = (range.start(), range.end());
    Err(RuleError::new(
        key,
        format!("{value} is outside of {low} to {high}"),
    ))
}

impl Rules {
    /// Refuses values that are out of range or contradict each other.
    ///
    /// # Errors
    /// The first one found.
    pub fn check(&self) -> Result<(), RuleError> {
        let time = &self.time;
        within(
            "time.disorder_seconds",
            time.disorder_seconds.into(),
            0.0..=172_800.0,
        )?;
        within("time.grace_days", time.grace_days.into(), 1.0..=14.0)?;
        within(
            "time.max_ahead_seconds",
            time.max_ahead_seconds.into(),
            1.0..=86_400.0,
        )?;
        within(
            "time.dedupe_seconds",
            time.dedupe_seconds.into(),
            0.0..=604_800.0,
        )?;
        within("time.dedupe_ids", time.dedupe_ids.into(), 1.0..=10_000.0)?;
        let grace_seconds = u64::from(time.grace_days) * 86_400;
        if u64::from(time.disorder_seconds) > grace_seconds {
            return Err(RuleError::new(
                "time.disorder_seconds",
                "allows more disorder than the grace period: raise time.grace_days or lower it",
            ));
        }
        within(
            "alerts.cooldown_days",
            self.alerts.cooldown_days.into(),
            0.0..=365.0,
        )?;
        within(
            "alerts.renewal_days",
            self.alerts.renewal_days.into(),
            0.0..=365.0,
        )?;
        if let (Some(high), Some(tech)) =
            (self.segments.high_from_mrr, self.segments.tech_below_mrr)
            && high < tech
        {
            return Err(RuleError::new(
                "segments.high_from_mrr",
                format!(
                    "{high} lies below segments.tech_below_mrr {tech}: no account would be low touch"
                ),
            ));
        }
        self.signals.check()
    }

    /// The segment in force: declared, else by MRR, else low touch.
    pub fn segment_of(&self, profile: &Profile) -> Segment {
        if let Some(segment) = profile.segment {
            return segment;
        }
        let Some(mrr) = &profile.mrr else {
            return Segment::Low;
        };
        if self
            .segments
            .high_from_mrr
            .is_some_and(|from| mrr.amount >= from)
        {
            Segment::High
        } else if self
            .segments
            .tech_below_mrr
            .is_some_and(|below| mrr.amount < below)
        {
            Segment::Tech
        } else {
            Segment::Low
        }
    }

    /// Whether a use is a core action of an account with this profile.
    pub fn is_core_action(&self, usage: &Usage, profile: &Profile) -> bool {
        if usage.actor != crate::event::Actor::Person {
            return false;
        }
        match &profile.core_features {
            Some(own) => own.contains(&usage.feature),
            None => {
                self.usage.core_features.is_empty()
                    || self.usage.core_features.contains(usage.feature.as_str())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Actor, Money};

    #[test]
    fn the_defaults_contradict_nothing() {
        assert_eq!(Rules::default().check(), Ok(()));
    }

    #[test]
    fn contradictions_are_refused_by_key() {
        let mut rules = Rules::default();
        rules.time.disorder_seconds = 172_800;
        rules.time.grace_days = 1;
        assert_eq!(
            rules.check().expect_err("contradiction").key,
            "time.disorder_seconds"
        );
        let rules = Rules {
            segments: SegmentRules {
                high_from_mrr: Some(1),
                tech_below_mrr: Some(2),
            },
            ..Rules::default()
        };
        assert_eq!(
            rules.check().expect_err("contradiction").key,
            "segments.high_from_mrr"
        );
    }

    #[test]
    fn the_segment_is_declared_else_by_revenue_else_low() {
        let rules = Rules {
            segments: SegmentRules {
                high_from_mrr: Some(1_000),
                tech_below_mrr: Some(100),
            },
            ..Rules::default()
        };
        let mut profile = Profile::default();
        assert_eq!(rules.segment_of(&profile), Segment::Low);
        for (amount, want) in [
            (1_000, Segment::High),
            (999, Segment::Low),
            (99, Segment::Tech),
        ] {
            profile.mrr = Some(Money {
                amount,
                currency: "EUR".into(),
            });
            assert_eq!(rules.segment_of(&profile), want);
        }
        profile.segment = Some(Segment::High);
        assert_eq!(rules.segment_of(&profile), Segment::High);
    }

    #[test]
    fn service_actors_and_other_features_are_no_core_action() {
        let mut usage = Usage {
            user: None,
            feature: "report".into(),
            quantity: 1.0,
            actor: Actor::Person,
        };
        let mut rules = Rules::default();
        let mut profile = Profile::default();
        assert!(rules.is_core_action(&usage, &profile));
        rules.usage.core_features.insert("export".into());
        assert!(!rules.is_core_action(&usage, &profile));
        profile.core_features = Some(vec!["report".into()]);
        assert!(rules.is_core_action(&usage, &profile));
        usage.actor = Actor::Service;
        assert!(!rules.is_core_action(&usage, &profile));
    }
}
