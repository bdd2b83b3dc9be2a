//! The signals: each a rule that reads an account and says how bad it looks.
//!
//! A signal is one file and one line in `registry!` below. The file holds its
//! documentation (*Means, Fires when, Clears when, Playbook, Tuning*), its
//! settings with their defaults, its rule and its timeline tests; the line
//! gives it its name in contracts, configuration, metrics and manuals.
//!
//! ```text
//!  View (state as of the last closed day, rules, fleet) --on_look--> Reading --life--> Transition
//!                                                       \-on_fact-/              \-explain-> words
//! ```

pub mod champion_quiet;
pub mod inactive_seats;
pub mod ticket_spike;
#[cfg(test)]
pub(crate) mod timeline;
pub mod usage_drop;
pub mod usage_silent;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    account::{AccountState, History, Profile},
    alert::{Evidence, Playbook, Window},
    event::{Fact, Segment},
    fleet::FleetDay,
    ids::UserId,
    life::{Episode, Frozen, Life, Reading},
    rules::{RuleError, Rules},
    time::{Day, EventTime},
};

macro_rules! registry {
    ($($module:ident: $signal:ident,)*) => {
        /// Every signal there is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum SignalId {
            $(#[doc = concat!("See [`", stringify!($module), "`].")] $signal,)*
        }

        impl SignalId {
            /// All signals, in the order of the registry.
            pub const ALL: &[Self] = &[$(Self::$signal,)*];

            /// The name used in contracts, configuration and metric labels.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$signal => stringify!($module),)*
                }
            }

            /// The signal of this name.
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|signal| signal.as_str() == name)
            }

            /// What is said about it in manuals and alerts.
            pub const fn about(self) -> &'static About {
                match self {
                    $(Self::$signal => &<$module::$signal as Signal>::ABOUT,)*
                }
            }

            /// The text of its source file, for the manual page made from its
            /// module documentation.
            pub const fn source(self) -> &'static str {
                match self {
                    $(Self::$signal => include_str!(concat!(stringify!($module), ".rs")),)*
                }
            }
        }

        /// The settings of every signal.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Default)]
        #[serde(default, deny_unknown_fields)]
        pub struct SignalRules {
            $(
                #[doc = concat!("Settings of the signal `", stringify!($module), "`.")]
                pub $module: $module::$signal,
            )*
        }

        impl SignalRules {
            /// Refuses settings that are out of range or contradict each other.
            ///
            /// # Errors
            /// The first one found, with its key.
            pub fn check(&self) -> Result<(), RuleError> {
                $(self.$module.check().map_err(|error| RuleError::new(
                    format!(concat!("signals.", stringify!($module), ".{}"), error.key),
                    error.message,
                ))?;)*
                Ok(())
            }

            /// Reads every signal at the close of a day.
            pub(crate) fn on_look(&self, view: &View<'_>, found: &mut Vec<(SignalId, Reading)>) {
                $(if self.$module.enabled {
                    self.$module.on_look(view, &mut |reading| {
                        found.push((SignalId::$signal, reading));
                    });
                })*
            }

            /// Reads the signals that judge a fact at once.
            pub(crate) fn on_fact(
                &self,
                view: &View<'_>,
                fact: &Fact,
                found: &mut Vec<(SignalId, Reading)>,
            ) {
                $(if self.$module.enabled {
                    self.$module.on_fact(view, fact, &mut |reading| {
                        found.push((SignalId::$signal, reading));
                    });
                })*
            }

            pub(crate) fn life(&self, signal: SignalId) -> Life {
                match signal {
                    $(SignalId::$signal => self.$module.life(),)*
                }
            }

            pub(crate) fn explain(
                &self,
                signal: SignalId,
                view: &View<'_>,
                reading: &Reading,
            ) -> Explanation {
                match signal {
                    $(SignalId::$signal => self.$module.explain(view, reading),)*
                }
            }
        }
    };
}

// Stored rows name a signal by its place in this list: it only grows, at its end.
registry! {
    usage_drop: UsageDrop,
    usage_silent: UsageSilent,
    ticket_spike: TicketSpike,
    champion_quiet: ChampionQuiet,
    inactive_seats: InactiveSeats,
}

/// A rule that reads an account.
pub trait Signal {
    /// What is said about it.
    const ABOUT: About;

    /// Refuses settings that are out of range or contradict each other.
    ///
    /// # Errors
    /// The first one found; its key is relative to the signal's section.
    fn check(&self) -> Result<(), RuleError>;

    /// How its alerts live.
    fn life(&self) -> Life;

    /// Reads an account at the close of a day.
    fn on_look(&self, view: &View<'_>, found: &mut dyn FnMut(Reading));

    /// Reads an account right after a fact other than usage.
    fn on_fact(&self, _view: &View<'_>, _fact: &Fact, _found: &mut dyn FnMut(Reading)) {}

    /// Puts a reading into words and evidence.
    fn explain(&self, view: &View<'_>, reading: &Reading) -> Explanation;
}

/// What is said about a signal, the same for every account.
#[derive(Debug)]
pub struct About {
    /// For people.
    pub title: &'static str,
    /// What usually lies behind it.
    pub likely_causes: &'static [&'static str],
    /// What to do.
    pub playbook: Playbook,
    /// The unit of `score`.
    pub score: &'static str,
    /// The unit of `observed`, `expected` and `threshold`.
    pub unit: &'static str,
}

/// A reading in words.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// One plain sentence with its numbers.
    pub reason: String,
    /// The numbers, in reading order.
    pub evidence: Evidence,
    /// The days judged.
    pub window: Window,
    /// Twelve weekly buckets, oldest first.
    pub series: Vec<u32>,
}

/// What a signal may look at.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The rules in force.
    pub rules: &'a Rules,
    /// The account.
    pub account: &'a AccountState,
    /// Event time of the look or of the fact.
    pub now: EventTime,
    /// The last closed day for a look; the day of the fact for a fact.
    pub day: Day,
    /// The fleet on that day.
    pub fleet: &'a FleetDay,
}

impl<'a> View<'a> {
    /// The account's closed days.
    pub fn history(&self) -> &'a History {
        &self.account.history
    }

    /// The account's profile.
    pub fn profile(&self) -> &'a Profile {
        &self.account.history.profile
    }

    /// The segment in force.
    pub fn segment(&self) -> Segment {
        self.rules.segment_of(self.profile())
    }

    /// Days since the first record of usage, that day included; 0 before it.
    pub fn usage_observed_days(&self) -> i32 {
        self.history()
            .first_usage
            .map_or(0, |first| self.day.since(first) + 1)
    }

    /// Days since the first record of any kind, that day included.
    pub fn observed_days(&self) -> i32 {
        self.day.since(self.history().first_day) + 1
    }

    /// Days as a customer, as far as they were observed: an old customer has
    /// no history on the day of installation.
    pub fn tenure_days(&self) -> i32 {
        let signed = self.profile().started_at.map_or(i32::MAX, |started| {
            self.day.since(started.local_day(self.account.zone()))
        });
        signed.min(self.observed_days())
    }

    /// Days left to the renewal of a term of at least half a year; negative
    /// once it has passed.
    pub fn days_to_renewal(&self) -> Option<i32> {
        let profile = self.profile();
        profile.term_months.filter(|&months| months >= 6)?;
        Some(profile.renewal_date?.since(self.day))
    }

    /// The running episode of a signal about a subject.
    pub fn episode(&self, signal: SignalId, subject: Option<&UserId>) -> Option<&'a Episode> {
        self.account
            .hot
            .alerts
            .iter()
            .find(|alert| alert.signal == signal && alert.subject.as_ref() == subject)
            .and_then(|alert| alert.open_episode())
    }

    /// Whether a signal is ignored for a subject until the sign is gone.
    pub fn is_muted(&self, signal: SignalId, subject: Option<&UserId>) -> bool {
        self.account.hot.alerts.iter().any(|alert| {
            alert.signal == signal && alert.subject.as_ref() == subject && alert.muted.is_some()
        })
    }

    /// The baseline held fast by a running episode.
    pub fn frozen(&self, signal: SignalId, subject: Option<&UserId>) -> Option<Frozen> {
        self.episode(signal, subject).map(|episode| episode.frozen)
    }
}

/// `count` and the noun in the right number: `1 user`, `3 users`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// A share as a whole percentage, such as `64 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{} %", libm::round(share * 100.0))
}

/// A number for a sentence: whole from 10 on, one decimal below.
pub(crate) fn plain(number: f64) -> String {
    if number.abs() >= 10.0 {
        format!("{}", libm::round(number))
    } else {
        format!("{}", libm::round(number * 10.0) / 10.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_has_its_manual_its_playbook_and_its_causes() {
        for &signal in SignalId::ALL {
            let about = signal.about();
            assert!(
                !about.likely_causes.is_empty() && !about.playbook.steps.is_empty(),
                "{signal:?}"
            );
            for heading in [
                "**Means.**",
                "**Fires when.**",
                "**Clears when.**",
                "**Playbook.**",
                "**Tuning.**",
                "**Example.**",
            ] {
                assert!(
                    signal.source().contains(heading),
                    "{signal:?} lacks {heading}"
                );
            }
            assert_eq!(SignalId::named(signal.as_str()), Some(signal));
        }
    }

    #[test]
    fn numbers_read_plainly() {
        assert_eq!([plain(3.12), plain(12.6), plain(9.96)], ["3.1", "13", "10"]);
        assert_eq!(percent(0.637), "64 %");
        assert_eq!(
            [counted(1, "user"), counted(0, "user")],
            ["1 user", "0 users"]
        );
    }
}
