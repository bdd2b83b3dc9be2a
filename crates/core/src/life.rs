//! How an alert lives.
//!
//! ```text
//!            breach            sustained           cleared, rebased, expired,
//!   (none) ---------> pending ----------> open -------------------------> resolved
//!      ^                 |                 | ^        manual, superseded,     |
//!      |    no breach    |     acknowledge | | snooze over,   account ended   |
//!      +-----------------+       or snooze v | escalation                     |
//!      ^                         acknowledged, snoozed                        |
//!      |                                                                      |
//!      +-- after the cooldown ---------------- reopened <-- breach within it -+
//! ```
//!
//! Signals only read: each gives a [`Reading`] of a subject. What follows from
//! it is decided here, the same way for every signal, by the [`Life`] it asks
//! for. Nothing is published while an alert is pending.

use serde::{Deserialize, Serialize};

use crate::{
    alert::{AlertPhase, ResolveReason, Severity, TransitionKind},
    ids::UserId,
    signal::SignalId,
    time::EventTime,
};

/// One signal's judgement of one subject at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The user or contact judged; `None`: the account itself.
    pub subject: Option<UserId>,
    /// How bad it is, when the condition holds.
    pub breach: Option<Severity>,
    /// Whether a breach opens without waiting for the sustain.
    pub at_once: bool,
    /// Whether it is below the clear level.
    pub clear: bool,
    /// Whether the subject no longer counts (another champion took over, say).
    pub superseded: bool,
    /// Whether every condition but the threshold holds, so that `score` says
    /// how near it is.
    pub comparable: bool,
    /// The numbers.
    pub numbers: Numbers,
    /// The baseline to hold fast while the alert is open.
    pub frozen: Frozen,
    /// What a further fall is measured by, in one unit whichever rule speaks;
    /// the measured number unless the signal says otherwise.
    pub level: f64,
    /// Whether it may become the account's normal: then it is rebased after
    /// [`Life::rebase_days`], and mute afterwards. A level that is bad in itself
    /// never becomes normal.
    pub becomes_normal: bool,
}

impl Reading {
    /// A reading that is neither a breach nor clear.
    pub fn of(subject: Option<UserId>, numbers: Numbers) -> Self {
        Self {
            subject,
            breach: None,
            at_once: false,
            clear: false,
            superseded: false,
            comparable: false,
            numbers,
            frozen: Frozen::default(),
            level: numbers.observed,
            becomes_normal: true,
        }
    }
}

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Default)]
pub struct Numbers {
    /// The signal's own statistic.
    pub score: f64,
    /// Measured, in the signal's unit.
    pub observed: f64,
    /// The account's own normal, in the same unit.
    pub expected: f64,
    /// The bound, in the same unit.
    pub threshold: f64,
    /// Which of the signal's rules speaks; its own numbering.
    pub rule: u8,
}

/// A baseline held fast while an alert is open; the meaning is the signal's own.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Default)]
pub struct Frozen {
    /// The expected level.
    pub expected: f64,
    /// A second one.
    pub second: f64,
}

/// How alerts of one signal live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Looks in a row that must breach before opening; 1 opens at the first.
    pub sustain_looks: u16,
    /// How it clears.
    pub clears: Clears,
    /// Resolved as rebased after this many days.
    pub rebase_days: Option<u16>,
    /// Resolved as expired after this many days.
    pub expire_days: Option<u16>,
    /// Whether a near renewal makes a warning critical.
    pub renewal_raises: bool,
}

/// How many clear looks end an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clears {
    /// So many in a row.
    InARow(u16),
    /// So many, with others between.
    InAll(u16),
}

/// The life of one alert, as stored with the account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertState {
    /// Which signal.
    pub signal: SignalId,
    /// About whom within the account.
    pub subject: Option<UserId>,
    /// A breach that is not yet sustained.
    pub pending: Option<Pending>,
    /// The episode that was published last.
    pub episode: Option<Episode>,
    /// Ignored until recovery or a further fall, after it was rebased or expired.
    pub muted: Option<Muted>,
}

/// A breach that is not yet sustained.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pending {
    /// Since when.
    pub since: EventTime,
    /// Looks in a row, this one included.
    pub looks: u16,
}

/// A published episode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Episode {
    /// Where it stands.
    pub phase: AlertPhase,
    /// How bad it is at worst.
    pub severity: Severity,
    /// When the condition first held.
    pub first_breach_at: EventTime,
    /// When it was opened or last reopened.
    pub opened_at: EventTime,
    /// When it last moved.
    pub updated_at: EventTime,
    /// When it ended.
    pub resolved_at: Option<EventTime>,
    /// Why it ended.
    pub resolve_reason: Option<ResolveReason>,
    /// How often it came back.
    pub reopen_count: u32,
    /// Who acted on it last.
    pub acted_by: Option<Box<str>>,
    /// Until when it is put off.
    pub snoozed_until: Option<EventTime>,
    /// Clear looks so far.
    pub clear_looks: u16,
    /// The numbers at its last reading.
    pub numbers: Numbers,
    /// The baseline held fast.
    pub frozen: Frozen,
}

/// Why a signal is ignored for a subject.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Muted {
    /// The level at that time; a fall by `FURTHER_FALL` below it speaks again.
    pub level: f64,
    /// A person ended the alert: until the sign is gone, only something worse
    /// speaks.
    pub by_hand: bool,
}

/// A fall of this share below the level at which it was muted speaks again.
const FURTHER_FALL: f64 = 0.30;

impl AlertState {
    /// A life that has not begun.
    pub fn new(signal: SignalId, subject: Option<UserId>) -> Self {
        Self {
            signal,
            subject,
            pending: None,
            episode: None,
            muted: None,
        }
    }

    /// The running episode, if it is not resolved.
    pub fn open_episode(&self) -> Option<&Episode> {
        self.episode
            .as_ref()
            .filter(|episode| episode.phase != AlertPhase::Resolved)
    }

    /// Whether there is nothing left to remember at `now`.
    pub fn is_forgettable(&self, now: EventTime, cooldown_days: i64) -> bool {
        self.pending.is_none()
            && self.muted.is_none()
            && self.episode.as_ref().is_none_or(|episode| {
                episode
                    .resolved_at
                    .is_some_and(|at| at.plus_days(cooldown_days) < now)
            })
    }

    /// Takes in a reading and says what moved. `look` tells a daily look from
    /// a fact judged at once: only looks count towards sustain and clear.
    pub fn advance(
        &mut self,
        reading: &Reading,
        life: &Life,
        now: EventTime,
        look: bool,
        cooldown_days: i64,
    ) -> Option<TransitionKind> {
        self.unmute(reading);
        if let Some(episode) = &mut self.episode
            && episode.phase != AlertPhase::Resolved
        {
            return Self::advance_open(episode, &mut self.muted, reading, life, now, look);
        }
        let speaks = match (&self.muted, &self.episode) {
            (None, _) => true,
            (Some(muted), Some(episode)) if muted.by_hand => {
                reading.breach > Some(episode.severity)
            }
            (Some(_), _) => !reading.becomes_normal,
        };
        let Some(severity) = reading.breach.filter(|_| speaks) else {
            if look {
                self.pending = None;
            }
            return None;
        };
        let pending = self.pending.get_or_insert(Pending {
            since: now,
            looks: 0,
        });
        pending.looks = pending.looks.saturating_add(u16::from(look));
        if !reading.at_once && pending.looks < life.sustain_looks {
            return None;
        }
        let since = pending.since;
        self.pending = None;
        Some(self.open(reading, severity, since, now, cooldown_days))
    }

    fn open(
        &mut self,
        reading: &Reading,
        severity: Severity,
        since: EventTime,
        now: EventTime,
        cooldown_days: i64,
    ) -> TransitionKind {
        let before = self.episode.take();
        // Ids derive from the first breach: two episodes never share one, even
        // where the second begins with a late fact.
        let since = before.as_ref().map_or(since, |before| {
            since.max(before.first_breach_at.plus_millis(1))
        });
        let earlier = before.filter(|episode| {
            episode
                .resolved_at
                .is_some_and(|at| now <= at.plus_days(cooldown_days))
                && severity <= episode.severity
        });
        let kind = if earlier.is_some() {
            TransitionKind::Reopened
        } else {
            TransitionKind::Opened
        };
        self.episode = Some(Episode {
            phase: AlertPhase::Open,
            severity,
            first_breach_at: earlier
                .as_ref()
                .map_or(since, |earlier| earlier.first_breach_at),
            opened_at: now,
            updated_at: now,
            resolved_at: None,
            resolve_reason: None,
            reopen_count: earlier
                .as_ref()
                .map_or(0, |earlier| earlier.reopen_count + 1),
            acted_by: None,
            snoozed_until: None,
            clear_looks: 0,
            numbers: reading.numbers,
            frozen: reading.frozen,
        });
        kind
    }

    fn advance_open(
        episode: &mut Episode,
        muted: &mut Option<Muted>,
        reading: &Reading,
        life: &Life,
        now: EventTime,
        look: bool,
    ) -> Option<TransitionKind> {
        episode.numbers = reading.numbers;
        if reading.superseded {
            return Some(episode.resolve(ResolveReason::Superseded, now));
        }
        if let Some(severity) = reading
            .breach
            .filter(|severity| *severity > episode.severity)
        {
            episode.severity = severity;
            if let Clears::InARow(_) = life.clears {
                episode.clear_looks = 0;
            }
            episode.updated_at = now;
            // Worse than what was put off: it comes back.
            if episode.phase == AlertPhase::Snoozed {
                episode.phase = AlertPhase::Open;
                episode.snoozed_until = None;
            }
            return Some(TransitionKind::Escalated);
        }
        if !look {
            return None;
        }
        match life.clears {
            Clears::InARow(_) if !reading.clear => episode.clear_looks = 0,
            _ => episode.clear_looks += u16::from(reading.clear),
        }
        let (Clears::InARow(needed) | Clears::InAll(needed)) = life.clears;
        if episode.clear_looks >= needed {
            return Some(episode.resolve(ResolveReason::Cleared, now));
        }
        let age_days = (now.as_millis() - episode.opened_at.as_millis()) / crate::time::DAY_MS;
        let over = |days: Option<u16>| days.is_some_and(|days| age_days >= i64::from(days));
        let ended = if reading.becomes_normal && over(life.rebase_days) {
            Some(ResolveReason::Rebased)
        } else if over(life.expire_days) {
            Some(ResolveReason::Expired)
        } else {
            None
        };
        if let Some(reason) = ended {
            *muted = Some(Muted {
                level: reading.level,
                by_hand: false,
            });
            return Some(episode.resolve(reason, now));
        }
        if episode.snoozed_until.is_some_and(|until| until <= now) {
            episode.phase = AlertPhase::Open;
            episode.snoozed_until = None;
            episode.updated_at = now;
            return Some(TransitionKind::Updated);
        }
        None
    }

    fn unmute(&mut self, reading: &Reading) {
        if let Some(muted) = self.muted
            && (reading.clear || reading.level < muted.level * (1.0 - FURTHER_FALL))
        {
            self.muted = None;
        }
    }
}

impl Episode {
    /// Ends the episode.
    pub fn resolve(&mut self, reason: ResolveReason, now: EventTime) -> TransitionKind {
        self.phase = AlertPhase::Resolved;
        self.resolve_reason = Some(reason);
        self.resolved_at = Some(now);
        self.updated_at = now;
        self.snoozed_until = None;
        TransitionKind::Resolved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Life = Life {
        sustain_looks: 3,
        clears: Clears::InARow(2),
        rebase_days: None,
        expire_days: None,
        renewal_raises: false,
    };

    fn at(day: i64) -> EventTime {
        EventTime::from_millis(0).plus_days(day)
    }

    fn reading(breach: Option<Severity>, observed: f64) -> Reading {
        Reading {
            breach,
            clear: breach.is_none(),
            ..Reading::of(
                None,
                Numbers {
                    observed,
                    ..Numbers::default()
                },
            )
        }
    }

    fn alert() -> AlertState {
        AlertState::new(SignalId::UsageDrop, None)
    }

    /// Runs one look a day: `w` warning, `c` critical, `-` clear.
    fn looks(alert: &mut AlertState, life: &Life, from: i64, readings: &str) -> Vec<String> {
        let mut moved = Vec::new();
        for (day, sign) in (from..).zip(readings.chars()) {
            let breach = match sign {
                'w' => Some(Severity::Warning),
                'c' => Some(Severity::Critical),
                _ => None,
            };
            if let Some(kind) = alert.advance(&reading(breach, 1.0), life, at(day), true, 14) {
                moved.push(format!("{day} {}", kind.as_str()));
            }
        }
        moved
    }

    #[test]
    fn opens_once_the_breach_is_sustained_and_clears_in_a_row() {
        let mut alert = alert();
        assert_eq!(
            looks(&mut alert, &LIFE, 0, "ww-www-w--"),
            ["5 opened", "9 resolved"]
        );
        let episode = alert.episode.as_ref().expect("it was opened");
        assert_eq!(
            episode.first_breach_at,
            at(3),
            "the episode began with its first breach"
        );
    }

    #[test]
    fn a_breach_within_the_cooldown_reopens_the_same_episode() {
        let mut alert = alert();
        let moved = looks(&mut alert, &LIFE, 0, "www--www");
        assert_eq!(moved, ["2 opened", "4 resolved", "7 reopened"]);
        let episode = alert.episode.as_ref().expect("open");
        assert_eq!((episode.first_breach_at, episode.reopen_count), (at(0), 1));
    }

    #[test]
    fn a_worse_breach_within_the_cooldown_is_a_new_episode() {
        let mut alert = alert();
        assert_eq!(
            looks(&mut alert, &LIFE, 0, "www--ccc"),
            ["2 opened", "4 resolved", "7 opened"]
        );
        assert_eq!(
            alert.episode.as_ref().map(|e| e.first_breach_at),
            Some(at(5))
        );
    }

    #[test]
    fn a_breach_after_the_cooldown_is_a_new_episode() {
        let mut alert = alert();
        looks(&mut alert, &LIFE, 0, "www--");
        assert_eq!(looks(&mut alert, &LIFE, 30, "www"), ["32 opened"]);
    }

    #[test]
    fn severity_rises_and_never_falls_within_an_episode() {
        let mut alert = alert();
        assert_eq!(
            looks(&mut alert, &LIFE, 0, "wwwcwc"),
            ["2 opened", "3 escalated"]
        );
        assert_eq!(
            alert.episode.as_ref().map(|e| e.severity),
            Some(Severity::Critical)
        );
    }

    #[test]
    fn clear_looks_add_up_where_the_signal_says_so() {
        let mut alert = alert();
        let life = Life {
            clears: Clears::InAll(2),
            ..LIFE
        };
        assert_eq!(
            looks(&mut alert, &life, 0, "www-w-"),
            ["2 opened", "5 resolved"]
        );
    }

    #[test]
    fn a_rebased_alert_stays_mute_until_recovery_or_a_further_fall() {
        let life = Life {
            rebase_days: Some(5),
            sustain_looks: 1,
            ..LIFE
        };
        let breach = |observed| reading(Some(Severity::Warning), observed);
        let mut alert = alert();
        let mut step = |day, reading: &Reading| alert.advance(reading, &life, at(day), true, 14);
        assert_eq!(step(0, &breach(10.0)), Some(TransitionKind::Opened));
        assert_eq!(step(5, &breach(10.0)), Some(TransitionKind::Resolved));
        assert_eq!(step(6, &breach(7.1)), None, "a fall of 29 % stays mute");
        assert_eq!(
            step(7, &breach(6.9)),
            Some(TransitionKind::Reopened),
            "one of 31 % speaks"
        );
        assert_eq!(step(12, &breach(6.9)), Some(TransitionKind::Resolved));
        assert_eq!(step(13, &reading(None, 20.0)), None);
        assert_eq!(
            step(14, &breach(6.9)),
            Some(TransitionKind::Reopened),
            "after recovery too"
        );
    }

    #[test]
    fn a_snooze_ends_by_its_date_or_by_escalation() {
        for (readings, day, kind) in [
            ("wwww", 6, TransitionKind::Updated),
            ("wwcw", 5, TransitionKind::Escalated),
        ] {
            let mut alert = alert();
            looks(&mut alert, &LIFE, 0, "www");
            let episode = alert.episode.as_mut().expect("open");
            episode.phase = AlertPhase::Snoozed;
            episode.snoozed_until = Some(at(6));
            let moved = looks(&mut alert, &LIFE, 3, readings);
            assert_eq!(moved, [format!("{day} {}", kind.as_str())]);
            assert_eq!(
                alert.episode.as_ref().map(|e| e.phase),
                Some(AlertPhase::Open)
            );
        }
    }

    #[test]
    fn facts_open_at_once_and_do_not_count_as_looks() {
        let mut alert = alert();
        let mut fact = reading(Some(Severity::Warning), 1.0);
        assert_eq!(alert.advance(&fact, &LIFE, at(0), false, 14), None);
        fact.at_once = true;
        assert_eq!(
            alert.advance(&fact, &LIFE, at(0), false, 14),
            Some(TransitionKind::Opened)
        );
        let calm = reading(None, 1.0);
        for _ in 0..5 {
            assert_eq!(alert.advance(&calm, &LIFE, at(0), false, 14), None);
        }
    }
}
