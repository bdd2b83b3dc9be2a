//! The champion goes quiet.
//!
//! **Means.** The person who carries the product inside the account is no
//! longer seen, while colleagues go on: the next renewal has no advocate.
//!
//! **Who.** The declared role first: champions and sponsors, else owners, else
//! admins, from seat and contact records. Where nobody is declared, inferred
//! from activity at the end of each week: users with at least a quarter of the
//! core actions of 26 weeks, active in at least 13 of them, on two features or
//! more; the best 3 / 2 / 1 are kept, and a challenger must be ahead by a
//! quarter in two weekly looks to replace one.
//!
//! **Fires when.** The log odds that the user has left (as in `usage_silent`)
//! exceed 0 and at least 14 days of silence have passed, while the account
//! itself is not silent and no absence is known (silence counts anew from the
//! end of an announced absence); or two approaches of the last
//! 21 days are unanswered. Critical for a declared sponsor.
//!
//! **Clears when.** The champion did core actions on two distinct days, or
//! answered. Expires after 180 days; superseded when somebody else counts as
//! champion.
//!
//! **Playbook.** `reach_champion`.
//!
//! **Tuning.** Raise `threshold` where champions take long holidays and say
//! nothing. A bound in multiples of the usual gap would over-fire on daily users.
//!
//! **Example.** A champion active on each workday stops while the team goes
//! on: fires two weeks later.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{About, Explanation, Signal, SignalId, View, percent, plain};
use crate::{
    account::{AccountState, Contact, InferredChampion, Rhythm, Seat, SeatStatus},
    alert::{Evidence, Playbook, Severity, Window},
    event::{ContactAction, Fact, Role},
    ids::UserId,
    life::{Clears, Life, Numbers, Reading},
    rules::{BySegment, RuleError, within},
    time::Day,
};

const SILENT: u8 = 0;
const UNANSWERED: u8 = 1;

/// Most declared champions that are watched in one account.
const MOST_DECLARED: usize = 8;
const WEEKS: i32 = 26;
/// Weekly looks in a row in which a challenger must be ahead.
const CHALLENGES: u8 = 2;

/// Settings of `champion_quiet`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ChampionQuiet {
    /// Whether the signal runs. Default true.
    pub enabled: bool,
    /// Log odds of having left above which it fires. Default 0.
    pub threshold: f64,
    /// Least silence, in days of the fleet clock: a fortnight's holiday is no
    /// hand-over. Default 14.
    pub min_silence: f64,
    /// Unanswered approaches that fire. Default 2.
    pub unanswered: u32,
    /// Days within which those approaches lie. Default 21.
    pub unanswered_days: u32,
    /// Least share of the account's core actions of an inferred champion. Default .25.
    pub min_share: f64,
    /// Least number of active weeks of the last 26 of an inferred champion. Default 13.
    pub min_weeks: u32,
    /// Least number of features an inferred champion uses. Default 2.
    pub min_features: u32,
    /// Inferred champions kept. Default 3 / 2 / 1.
    pub keep: BySegment<u32>,
    /// How far a challenger must be ahead to replace one, as a ratio. Default 1.25.
    pub challenge_ratio: f64,
    /// Days after which an open alert expires. Default 180.
    pub expire_days: u16,
}

impl Default for ChampionQuiet {
    fn default() -> Self {
        Self {
            enabled: true,
            threshold: 0.0,
            min_silence: 14.0,
            unanswered: 2,
            unanswered_days: 21,
            min_share: 0.25,
            min_weeks: 13,
            min_features: 2,
            keep: BySegment::new(3, 2, 1),
            challenge_ratio: 1.25,
            expire_days: 180,
        }
    }
}

/// Somebody who is watched.
#[derive(Debug, Clone)]
struct Watched<'a> {
    user: UserId,
    seat: Option<&'a Seat>,
    contact: Option<&'a Contact>,
    role: Option<Role>,
    share: Option<f64>,
}

/// The declared champions: users and contacts of the highest role that is
/// declared at all.
fn declared(account: &AccountState) -> Vec<Watched<'_>> {
    let tiers: [&[Role]; 3] = [
        &[Role::Champion, Role::Sponsor],
        &[Role::Owner],
        &[Role::Admin],
    ];
    for tier in tiers {
        let mut watched: Vec<Watched<'_>> = account
            .role_holders()
            .filter(|(_, seat)| {
                seat.role.is_some_and(|role| tier.contains(&role))
                    && seat.status != SeatStatus::Deactivated
            })
            // Of a hundred thousand champions nobody needs to see the rest.
            .take(MOST_DECLARED)
            .map(|(user, seat)| Watched {
                user: user.clone(),
                seat: Some(seat),
                contact: account.hot.contacts.of_user(user),
                role: seat.role,
                share: None,
            })
            .collect();
        for contact in account.hot.contacts.iter() {
            let counts = contact.role.is_some_and(|role| tier.contains(&role)) && !contact.gone;
            let subject = contact.subject();
            if counts && watched.iter().all(|known| known.user != subject) {
                watched.push(Watched {
                    seat: account.seats.get(&subject),
                    user: subject,
                    contact: Some(contact),
                    role: contact.role,
                    share: None,
                });
            }
        }
        if !watched.is_empty() {
            watched.truncate(MOST_DECLARED);
            return watched;
        }
    }
    Vec::new()
}

fn watched(account: &AccountState) -> Vec<Watched<'_>> {
    let declared = declared(account);
    if !declared.is_empty() {
        return declared;
    }
    account
        .hot
        .inferred_champions
        .iter()
        .map(|champion| Watched {
            user: champion.user.clone(),
            seat: account.seats.get(&champion.user),
            contact: account.hot.contacts.of_user(&champion.user),
            role: None,
            share: Some(champion.share),
        })
        .collect()
}

impl ChampionQuiet {
    /// At the end of a week: who leads by activity. Holders stay until a
    /// challenger is well ahead twice in a row, or half a year has passed
    /// without them.
    pub(crate) fn infer(&self, account: &mut AccountState, day: Day, keep: u32) {
        if account.seats.is_empty() {
            return;
        }
        let week = day.week();
        let total = account.history.weeks.sum(week, WEEKS).max(1) as f64;
        // Who did anything at all, in the order of their ids.
        let recent: Vec<(&UserId, &Seat, u64)> = account
            .seats
            .iter()
            .map(|(user, seat)| (user, seat, seat.weeks.sum(week, WEEKS)))
            .filter(|(.., score)| *score > 0)
            .collect();
        let score_of = |user: &UserId| {
            recent
                .binary_search_by_key(&user, |(known, ..)| known)
                .map_or(0, |at| recent[at].2)
        };
        let share_of = |user: &UserId| score_of(user) as f64 / total;
        let mut holders: Vec<InferredChampion> = account
            .hot
            .inferred_champions
            .iter()
            .filter(|holder| score_of(&holder.user) > 0)
            .map(|holder| InferredChampion {
                share: share_of(&holder.user),
                ..holder.clone()
            })
            .collect();
        holders.truncate(keep as usize);
        let mut challengers: Vec<(u64, &UserId)> = recent
            .iter()
            .filter(|(user, seat, score)| {
                *score as f64 / total >= self.min_share
                    && seat.features.count_ones() >= self.min_features
                    && seat.weeks.active_weeks(week, WEEKS) >= self.min_weeks
                    && holders.iter().all(|holder| holder.user != **user)
            })
            .map(|(user, _, score)| (*score, *user))
            .collect();
        challengers.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
        let mut challengers = challengers.into_iter();
        let newcomer = |user: &UserId| InferredChampion {
            user: user.clone(),
            share: share_of(user),
            challenged: 0,
        };
        let free = (keep as usize).saturating_sub(holders.len());
        holders.extend(
            challengers
                .by_ref()
                .take(free)
                .map(|(_, user)| newcomer(user)),
        );
        // The best of the others challenges the weakest holder, and nobody else.
        let weakest = (0..holders.len()).min_by_key(|&i| score_of(&holders[i].user));
        let challenged = weakest
            .zip(challengers.next())
            .filter(|&(index, (score, _))| {
                score as f64 >= self.challenge_ratio * score_of(&holders[index].user) as f64
            });
        for (index, holder) in holders.iter_mut().enumerate() {
            match challenged {
                Some((weakest, (_, user))) if weakest == index => {
                    holder.challenged += 1;
                    if holder.challenged >= CHALLENGES {
                        *holder = newcomer(user);
                    }
                }
                _ => holder.challenged = 0,
            }
        }
        if holders != account.hot.inferred_champions {
            account.hot.inferred_champions = holders;
            account.touched.hot = true;
        }
    }

    /// The silence that no announced absence explains: counted from the last
    /// active day or from the end of the absence, whichever is later.
    fn unexplained_silence(&self, view: &View<'_>, champion: &Watched<'_>, rhythm: &Rhythm) -> f64 {
        let history = view.history();
        let silence = rhythm.silence(history.clock);
        let back = champion.contact.and_then(|contact| contact.away_until);
        match back.map(|until| until.local_day(view.account.zone())) {
            Some(back) if back > view.day => 0.0,
            Some(back) if back > rhythm.last.day => {
                silence.min(history.clock.total - history.clock_at(back).0.total)
            }
            _ => silence,
        }
    }

    fn read(&self, view: &View<'_>, champion: &Watched<'_>, account_silent: bool) -> Reading {
        let clock = view.history().clock;
        let rhythm = champion.seat.and_then(|seat| seat.rhythm.as_ref());
        let away = champion
            .contact
            .is_some_and(|contact| contact.is_away(view.now));
        let unanswered = champion.contact.map_or(0, |contact| {
            contact.unanswered_within(view.now, self.unanswered_days.into())
        });
        let s = rhythm.map_or(0.0, |rhythm| {
            self.unexplained_silence(view, champion, rhythm)
        });
        let score = rhythm.map_or(0.0, |rhythm| rhythm.log_odds_left(s));
        let known_for = rhythm.map_or(0, |rhythm| view.day.since(rhythm.first) + 1);
        let comparable = rhythm.is_some()
            && known_for >= 28
            && s >= self.min_silence
            && !account_silent
            && !away;
        let silent = comparable && score > self.threshold;
        let ignored = unanswered >= self.unanswered as usize && !away;
        let running = view.episode(SignalId::ChampionQuiet, Some(&champion.user));
        // An alert about approaches stays one until they are settled, or a
        // contact who never uses the product could not clear it.
        let about_approaches =
            ignored || running.is_some_and(|episode| episode.numbers.rule == UNANSWERED);
        let rule = if about_approaches && !silent {
            UNANSWERED
        } else {
            SILENT
        };
        let numbers = if rule == UNANSWERED {
            let bound = f64::from(self.unanswered);
            Numbers {
                score,
                observed: unanswered as f64,
                expected: 0.0,
                threshold: bound,
                rule,
            }
        } else {
            let expected = rhythm.map_or(0.0, |rhythm| f64::from(rhythm.expected_within_days()));
            Numbers {
                score,
                observed: s,
                expected,
                threshold: self.threshold,
                rule,
            }
        };
        let mut reading = Reading::of(Some(champion.user.clone()), numbers);
        reading.comparable = comparable;
        reading.at_once = !silent && ignored;
        if silent || ignored {
            let sponsor = champion.role == Some(Role::Sponsor);
            reading.breach = Some(if sponsor {
                Severity::Critical
            } else {
                Severity::Warning
            });
        }
        reading.clear = match rule {
            // An answer clears what was left unanswered, whatever the usage.
            UNANSWERED => unanswered == 0,
            _ => rhythm.is_some_and(|rhythm| rhythm.silent_days(clock) == 0),
        };
        reading
    }
}

impl Signal for ChampionQuiet {
    const ABOUT: About = About {
        title: "The champion goes quiet",
        likely_causes: &[
            "the champion has a new task, a new manager or a new employer",
            "something went wrong that they have not told you",
            "a long absence that nobody mentioned",
        ],
        playbook: Playbook {
            id: "reach_champion",
            title: "Reach the champion, and find a second one",
            steps: &[
                "Call, do not write; then ask a colleague of theirs whether they are away.",
                "If they changed their task, ask for an introduction to whoever follows.",
                "Meet the most active other user and learn what they need.",
                "Have two names in the account before the next renewal talk.",
            ],
        },
        score: "log odds of the champion having left",
        unit: "silent days of the fleet clock (approaches, for the unanswered rule)",
    };

    fn check(&self) -> Result<(), RuleError> {
        within("threshold", self.threshold, -8.0..=15.0)?;
        within("min_silence", self.min_silence, 1.0..=365.0)?;
        within("unanswered", self.unanswered.into(), 1.0..=8.0)?;
        within("unanswered_days", self.unanswered_days.into(), 1.0..=180.0)?;
        within("min_share", self.min_share, 0.01..=1.0)?;
        within("min_weeks", self.min_weeks.into(), 1.0..=26.0)?;
        within("min_features", self.min_features.into(), 1.0..=64.0)?;
        for (segment, keep) in self.keep.each() {
            within(&format!("keep.{segment}"), keep.into(), 1.0..=20.0)?;
        }
        within("challenge_ratio", self.challenge_ratio, 1.0..=10.0)?;
        within("expire_days", self.expire_days.into(), 7.0..=730.0)
    }

    fn life(&self) -> Life {
        Life {
            sustain_looks: 1,
            clears: Clears::InAll(2),
            rebase_days: None,
            expire_days: Some(self.expire_days),
            renewal_raises: true,
        }
    }

    fn on_look(&self, view: &View<'_>, found: &mut dyn FnMut(Reading)) {
        if view.fleet.usage_stale {
            return;
        }
        let watched = watched(view.account);
        // Alerts about somebody who no longer counts end.
        for alert in &view.account.hot.alerts {
            let counts = alert.signal != SignalId::ChampionQuiet
                || alert.open_episode().is_none()
                || watched
                    .iter()
                    .any(|champion| Some(&champion.user) == alert.subject.as_ref());
            if !counts {
                let mut reading = Reading::of(alert.subject.clone(), Numbers::default());
                reading.superseded = true;
                found(reading);
            }
        }
        if watched.is_empty() {
            return;
        }
        let account_silent = account_is_silent(view);
        for champion in &watched {
            found(self.read(view, champion, account_silent));
        }
    }

    /// An approach or an answer is judged at once.
    fn on_fact(&self, view: &View<'_>, fact: &Fact, found: &mut dyn FnMut(Reading)) {
        let Fact::Contact(touch) = fact else { return };
        if !matches!(
            touch.action,
            ContactAction::MailSent | ContactAction::MailAnswered
        ) {
            return;
        }
        let account_silent = account_is_silent(view);
        for champion in watched(view.account) {
            if champion
                .contact
                .is_some_and(|contact| contact.id == touch.contact)
            {
                found(self.read(view, &champion, account_silent));
            }
        }
    }

    fn explain(&self, view: &View<'_>, reading: &Reading) -> Explanation {
        let watched = watched(view.account);
        let champion = watched
            .iter()
            .find(|champion| Some(&champion.user) == reading.subject.as_ref());
        let how = match champion {
            Some(Watched {
                role: Some(role), ..
            }) => format!("declared {}", role.as_str()),
            Some(Watched {
                share: Some(share), ..
            }) => {
                format!("inferred champion, {} of the core actions", percent(*share))
            }
            _ => "former champion".to_owned(),
        };
        let user = reading.subject.as_ref().map_or("", UserId::as_str);
        let clock = view.history().clock;
        let seat = reading
            .subject
            .as_ref()
            .and_then(|user| view.account.seats.get(user));
        let rhythm = seat.and_then(|seat| seat.rhythm.as_ref());
        let contact = champion.and_then(|champion| champion.contact);
        let unanswered = contact.map_or(0, |contact| {
            contact.unanswered_within(view.now, self.unanswered_days.into())
        });
        let reason = match (reading.numbers.rule, rhythm) {
            (UNANSWERED, _) => format!(
                "{user} ({how}) left {unanswered} approaches of the last {} days unanswered",
                self.unanswered_days
            ),
            (_, Some(rhythm)) if rhythm.silent_days(clock) > 0 => format!(
                "{user} ({how}) silent for {} days (since {}), usually active on {} days a week",
                rhythm.silent_days(clock),
                rhythm.last.day,
                plain(rhythm.days_per_week().min(7.0)),
            ),
            _ => format!("{user} ({how}) is active again"),
        };
        let others = view.history().users_28(view.day);
        let evidence = Evidence::default()
            .with(
                "rule",
                if reading.numbers.rule == UNANSWERED {
                    "unanswered"
                } else {
                    "silent"
                },
            )
            .with("identified", how)
            .with(
                "role",
                champion.and_then(|c| c.role).map(|role| role.as_str()),
            )
            .with("share", champion.and_then(|c| c.share))
            .with("last_active_day", rhythm.map(|rhythm| rhythm.last.day))
            .with(
                "silent_days",
                rhythm.map(|r| u64::from(r.silent_days(clock).unsigned_abs())),
            )
            .with("log_odds_left", reading.numbers.score)
            .with(
                "active_days_per_week",
                rhythm.map(|rhythm| rhythm.days_per_week()),
            )
            .with("unanswered_approaches", unanswered as u64)
            .with("active_users_28d", others);
        let start = rhythm.map_or(view.day, |rhythm| rhythm.last.day.plus(1).min(view.day));
        let week = view.day.week();
        Explanation {
            reason,
            evidence,
            window: Window {
                start,
                end: view.day,
            },
            series: (0..12)
                .rev()
                .map(|back| seat.map_or(0, |seat| seat.weeks.get(week - back)))
                .collect(),
        }
    }
}

/// Whether the account as a whole is silent by its own rhythm; a champion is
/// not missed where nobody is there.
fn account_is_silent(view: &View<'_>) -> bool {
    if view.episode(SignalId::UsageSilent, None).is_some() {
        return true;
    }
    let history = view.history();
    history.rhythm.as_ref().is_none_or(|rhythm| {
        let s = rhythm.silence(history.clock);
        rhythm.log_odds_left(s) > view.rules.signals.usage_silent.threshold.of(view.segment())
    })
}

#[cfg(test)]
mod tests;
