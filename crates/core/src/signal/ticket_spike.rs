//! Support tickets pile up.
//!
//! **Means.** The account opens many more tickets than it ever does: a bad
//! release, a broken integration, a roll-out that went wrong.
//!
//! **Fires when.** The tickets of the last 24 h or of the last seven days (k)
//! are too many for the account's own rate: at least 3 / 3 / 4, at least
//! 2 / 2.5 / 2.5 times the rate, and the negative-binomial chance of so many is
//! at most .01 / .005 / .002 (for 24 h: .001). Escalated and reopened tickets
//! count twice. The rate is own tickets of the up to 84 days before with the
//! cohort's as a prior worth four weeks. Judged at each ticket, without
//! waiting. Critical with severity points (P1 5, P2 3, P3 1, P4 0.5) of 10 or
//! more, two P1, a mean sentiment of -0.5 or less over three tickets, or an
//! open alert about use.
//!
//! **Clears when.** The seven-day count is below 1.5 times the rate for five
//! looks.
//!
//! **Playbook.** `support_surge`.
//!
//! **Tuning.** `prior_per_week` is what an account without history and without
//! peers is expected to open.
//!
//! **Example.** One ticket a week for months, then five in a day: fires at the
//! third or fourth.
//!
//! The rate is the posterior mean of a gamma-Poisson model and the tail that
//! of its predictive distribution (A. Gelman et al., *Bayesian Data Analysis*,
//! section 2.6).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{About, Explanation, Signal, SignalId, View, counted, percent, plain};
use crate::{
    account::RecentTicket,
    alert::{Datum, Evidence, Playbook, Severity, Window},
    event::{Fact, TicketAction, TicketSeverity},
    life::{Clears, Frozen, Life, Numbers, Reading},
    rules::{BySegment, RuleError, within},
    time::DAY_MS,
};

const BASE: i32 = 84;
/// Weight of the cohort's rate, in weeks.
const PRIOR_WEEKS: f64 = 4.0;
/// Least rate, a week.
const LEAST_RATE: f64 = 0.25;

const WEEK: u8 = 0;
const DAY: u8 = 1;

/// Settings of `ticket_spike`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TicketSpike {
    /// Whether the signal runs. Default true.
    pub enabled: bool,
    /// Least weighted number of tickets. Default 3 / 3 / 4.
    pub min_tickets: BySegment<u32>,
    /// Least multiple of the account's own rate. Default 2 / 2.5 / 2.5.
    pub min_ratio: BySegment<f64>,
    /// Most chance of so many in seven days. Default .01 / .005 / .002.
    pub max_chance_week: BySegment<f64>,
    /// Most chance of so many in 24 h. Default .001.
    pub max_chance_day: f64,
    /// Severity points that make it critical. Default 10.
    pub critical_points: f64,
    /// Tickets a week expected of an account without history or peers. Default 0.25.
    pub prior_per_week: f64,
    /// Multiple of the rate below which it clears. Default 1.5.
    pub clear_ratio: f64,
}

impl Default for TicketSpike {
    fn default() -> Self {
        Self {
            enabled: true,
            min_tickets: BySegment::new(3, 3, 4),
            min_ratio: BySegment::new(2.0, 2.5, 2.5),
            max_chance_week: BySegment::new(0.01, 0.005, 0.002),
            max_chance_day: 0.001,
            critical_points: 10.0,
            prior_per_week: 0.25,
            clear_ratio: 1.5,
        }
    }
}

/// What a ticket record counts.
pub(crate) const fn weight(action: TicketAction) -> u32 {
    match action {
        TicketAction::Opened => 1,
        TicketAction::Escalated | TicketAction::Reopened => 2,
        TicketAction::FirstResponse
        | TicketAction::Resolved
        | TicketAction::SlaBreached
        | TicketAction::Waiting => 0,
    }
}

const fn points(severity: TicketSeverity) -> f64 {
    match severity {
        TicketSeverity::P1 => 5.0,
        TicketSeverity::P2 => 3.0,
        TicketSeverity::P3 => 1.0,
        TicketSeverity::P4 => 0.5,
    }
}

/// The chance that a negative-binomial count with mean `mean` and variance
/// `mean x phi` is `k` or more; Poisson where `phi` is 1.
fn chance_of_at_least(k: u64, mean: f64, phi: f64) -> f64 {
    if k == 0 {
        return 1.0;
    }
    // Sums P(0) .. P(k-1) by the ratio of neighbours; k is bounded, since the
    // tail is nothing long before.
    let k = k.min(10_000);
    let (mut p, ratio): (f64, Box<dyn Fn(f64) -> f64>) = if phi <= 1.0 + 1e-9 {
        (libm::exp(-mean), Box::new(move |i| mean / (i + 1.0)))
    } else {
        let size = mean / (phi - 1.0);
        let failure = (phi - 1.0) / phi;
        (
            libm::exp(-size * libm::log(phi)),
            Box::new(move |i| (size + i) / (i + 1.0) * failure),
        )
    };
    let mut below = 0.0;
    for i in 0..k {
        below += p;
        p *= ratio(i as f64);
    }
    (1.0 - below).max(0.0)
}

/// The account's own normal.
#[derive(Debug, Clone, Copy)]
struct Normal {
    /// Tickets a week.
    per_week: f64,
    /// Variance over mean of a week's count.
    phi: f64,
}

impl TicketSpike {
    fn normal(&self, view: &View<'_>) -> Normal {
        let account = view.account;
        let window_start = view.day.plus(-6);
        let observed = window_start.since(view.history().first_day).clamp(0, BASE);
        let before = window_start.plus(-1);
        let own = account.tickets(before, observed) as f64;
        let prior = view.fleet.tickets_per_week.unwrap_or(self.prior_per_week);
        let weeks = f64::from(observed) / 7.0;
        let per_week = ((own + PRIOR_WEEKS * prior) / (weeks + PRIOR_WEEKS)).max(LEAST_RATE);
        // Variance over mean of the up to twelve whole weeks before, shrunk.
        let whole = observed / 7;
        let shrunk_to = 1.0 + per_week / 3.0;
        let mut phi = shrunk_to;
        if whole >= 2 && own > 0.0 {
            let counts: Vec<f64> = (0..whole)
                .map(|back| account.tickets(before.plus(-7 * back), 7) as f64)
                .collect();
            let n = f64::from(whole);
            let mean = counts.iter().sum::<f64>() / n;
            if mean > 0.0 {
                let variance =
                    counts.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (n - 1.0);
                phi = (n * (variance / mean) + PRIOR_WEEKS * shrunk_to) / (n + PRIOR_WEEKS);
            }
        }
        Normal {
            per_week: per_week * view.fleet.ticket_index,
            phi: phi.max(1.0),
        }
    }

    fn recent<'a>(view: &View<'a>, ms: i64) -> impl Iterator<Item = &'a RecentTicket> {
        let (since, now) = (view.now.plus_millis(-ms), view.now);
        view.account
            .hot
            .tickets
            .iter()
            .filter(move |ticket| ticket.time > since && ticket.time <= now)
    }

    fn read(&self, view: &View<'_>, judge: bool) -> Reading {
        let normal = self.normal(view);
        let segment = view.segment();
        let week = view.account.tickets(view.day, 7);
        let day: u64 = Self::recent(view, DAY_MS)
            .map(|ticket| u64::from(ticket.weight))
            .sum();
        let chance_week = chance_of_at_least(week, normal.per_week, normal.phi);
        let rate_day = normal.per_week / 7.0;
        let chance_day = chance_of_at_least(day, rate_day, normal.phi);
        let least = u64::from(self.min_tickets.of(segment));
        let ratio = self.min_ratio.of(segment);
        let enough = |k: u64, rate: f64| k >= least && k as f64 >= ratio * rate;
        let by_week =
            enough(week, normal.per_week) && chance_week <= self.max_chance_week.of(segment);
        let by_day = enough(day, rate_day) && chance_day <= self.max_chance_day;
        let rule = if by_day && !by_week { DAY } else { WEEK };
        let (k, rate) = if rule == DAY {
            (day, rate_day)
        } else {
            (week, normal.per_week)
        };
        let chance = if rule == DAY { chance_day } else { chance_week };
        let mut reading = Reading::of(
            None,
            Numbers {
                // Surprise in decibans would do as well; nats stay comparable.
                score: -libm::log(chance.max(1e-300)),
                observed: k as f64,
                expected: rate,
                threshold: (ratio * rate).max(least as f64),
                rule,
            },
        );
        reading.at_once = true;
        reading.comparable = judge && enough(k, rate);
        reading.frozen = Frozen {
            expected: normal.per_week,
            second: 0.0,
        };
        if judge && (by_week || by_day) {
            let critical = self.is_critical(view);
            reading.breach = Some(if critical {
                Severity::Critical
            } else {
                Severity::Warning
            });
        }
        let usual = view
            .frozen(SignalId::TicketSpike, None)
            .map_or(normal.per_week, |frozen| frozen.expected);
        reading.clear = (week as f64) < self.clear_ratio * usual;
        reading
    }

    fn is_critical(&self, view: &View<'_>) -> bool {
        let tickets: Vec<&RecentTicket> = Self::recent(view, 7 * DAY_MS).collect();
        let total: f64 = tickets.iter().map(|ticket| points(ticket.severity)).sum();
        let p1 = tickets
            .iter()
            .filter(|ticket| ticket.severity == TicketSeverity::P1)
            .count();
        let (moods, sum) = sentiments(&tickets);
        total >= self.critical_points
            || p1 >= 2
            || (moods >= 3 && sum / f64::from(moods) <= -0.5)
            || view.episode(SignalId::UsageDrop, None).is_some()
            || view.episode(SignalId::UsageSilent, None).is_some()
    }
}

fn sentiments(tickets: &[&RecentTicket]) -> (u32, f64) {
    tickets
        .iter()
        .filter_map(|ticket| ticket.sentiment)
        .fold((0, 0.0), |(count, sum), mood| (count + 1, sum + mood))
}

impl Signal for TicketSpike {
    const ABOUT: About = About {
        title: "Support tickets pile up",
        likely_causes: &[
            "a release or an outage broke something this account depends on",
            "an integration or a migration is failing",
            "a new team was rolled out without training",
        ],
        playbook: Playbook {
            id: "support_surge",
            title: "Get ahead of the support surge",
            steps: &[
                "Read the tickets together with support: one cause or many?",
                "Name one person who owns the cause, and tell the account who and by when.",
                "Call the champion before they call you; say what is known and what is not.",
                "Report back when it is fixed, and again a week later.",
            ],
        },
        score: "minus the natural log of the chance of so many tickets",
        unit: "weighted tickets in 7 d (day rule: in 24 h)",
    };

    fn check(&self) -> Result<(), RuleError> {
        for (segment, least) in self.min_tickets.each() {
            within(
                &format!("min_tickets.{segment}"),
                least.into(),
                1.0..=10_000.0,
            )?;
        }
        for (segment, ratio) in self.min_ratio.each() {
            within(&format!("min_ratio.{segment}"), ratio, 1.0..=100.0)?;
            if ratio <= self.clear_ratio {
                return Err(RuleError::new(
                    format!("min_ratio.{segment}"),
                    format!(
                        "{ratio} is not above clear_ratio {}: it would open and clear at once",
                        self.clear_ratio
                    ),
                ));
            }
        }
        for (segment, chance) in self.max_chance_week.each() {
            within(&format!("max_chance_week.{segment}"), chance, 1e-12..=0.5)?;
        }
        within("max_chance_day", self.max_chance_day, 1e-12..=0.5)?;
        within("critical_points", self.critical_points, 1.0..=1e6)?;
        within("prior_per_week", self.prior_per_week, 0.0..=1e4)?;
        within("clear_ratio", self.clear_ratio, 0.1..=100.0)
    }

    fn life(&self) -> Life {
        Life {
            sustain_looks: 1,
            clears: Clears::InARow(5),
            rebase_days: None,
            expire_days: None,
            renewal_raises: false,
        }
    }

    /// A look only lets an open or muted alert clear; spikes are judged at each ticket.
    fn on_look(&self, view: &View<'_>, found: &mut dyn FnMut(Reading)) {
        let signal = SignalId::TicketSpike;
        if view.episode(signal, None).is_some() || view.is_muted(signal, None) {
            found(self.read(view, false));
        }
    }

    fn on_fact(&self, view: &View<'_>, fact: &Fact, found: &mut dyn FnMut(Reading)) {
        if let Fact::Ticket(ticket) = fact
            && weight(ticket.action) > 0
        {
            found(self.read(view, true));
        }
    }

    fn explain(&self, view: &View<'_>, reading: &Reading) -> Explanation {
        let Numbers {
            observed,
            expected,
            rule,
            score,
            ..
        } = reading.numbers;
        let span = if rule == DAY { "24 h" } else { "7 d" };
        let span_ms = if rule == DAY { DAY_MS } else { 7 * DAY_MS };
        let tickets: Vec<&RecentTicket> = Self::recent(view, span_ms).collect();
        let of = |severity| {
            tickets
                .iter()
                .filter(|ticket| ticket.severity == severity)
                .count() as u64
        };
        let mut areas: Vec<(u64, &str)> = Vec::new();
        for area in tickets.iter().filter_map(|ticket| ticket.area.as_ref()) {
            match areas.iter_mut().find(|(_, name)| *name == area.as_str()) {
                Some((count, _)) => *count += 1,
                None => areas.push((1, area.as_str())),
            }
        }
        areas.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
        let (moods, mood) = sentiments(&tickets);
        let mut reason = format!(
            "{} (weighted) in {span} where {} are usual",
            counted(observed as u64, "ticket"),
            plain(expected),
        );
        let p1 = of(TicketSeverity::P1);
        if p1 > 0 {
            reason.push_str(&format!(", {p1} of them P1"));
        }
        let largest = areas
            .first()
            .map(|(count, _)| *count as f64 / tickets.len() as f64);
        if let (Some((_, area)), Some(share)) = (areas.first(), largest)
            && share >= 0.5
        {
            reason.push_str(&format!("; {} about {area}", percent(share)));
        }
        let evidence = Evidence::default()
            .with("span", span)
            .with("weighted_tickets", observed as u64)
            .with("usual", expected)
            .with("chance", libm::exp(-score))
            .with("p1", p1)
            .with("p2", of(TicketSeverity::P2))
            .with("p3", of(TicketSeverity::P3))
            .with("p4", of(TicketSeverity::P4))
            .with("largest_area", areas.first().map(|(_, area)| *area))
            .with("largest_area_share", largest)
            .with(
                "mean_sentiment",
                (moods > 0).then(|| mood / f64::from(moods)),
            )
            .with(
                "ticket_ids",
                Datum::List(
                    tickets
                        .iter()
                        .rev()
                        .take(20)
                        .map(|t| t.ticket.as_str().into())
                        .collect(),
                ),
            );
        Explanation {
            reason,
            evidence,
            window: Window {
                start: view.day.plus(if rule == DAY { -1 } else { -6 }),
                end: view.day,
            },
            series: view.history().weekly_tickets(12),
        }
    }
}

#[cfg(test)]
mod formula_tests {
    use super::chance_of_at_least;

    #[test]
    fn the_tail_of_a_poisson_count_is_the_textbook_one() {
        // P(K >= 3 | mean 1) = 1 - e^-1 (1 + 1 + 1/2).
        let want = 1.0 - 2.5 * libm::exp(-1.0);
        assert!((chance_of_at_least(3, 1.0, 1.0) - want).abs() < 1e-12);
    }

    #[test]
    fn the_tail_of_a_negative_binomial_count_is_the_sum_of_its_terms() {
        // Size 2, mean 4: phi = 3, p = 1/3. P(k) = (k+1) (1/3)^2 (2/3)^k.
        let term = |k: i32| f64::from(k + 1) / 9.0 * libm::pow(2.0 / 3.0, f64::from(k));
        let want = 1.0 - (0..7).map(term).sum::<f64>();
        assert!((chance_of_at_least(7, 4.0, 3.0) - want).abs() < 1e-12);
    }

    #[test]
    fn more_tickets_are_never_more_likely() {
        let tails: Vec<f64> = (0..60).map(|k| chance_of_at_least(k, 2.5, 1.8)).collect();
        assert!(tails.windows(2).all(|pair| pair[1] <= pair[0]));
        assert_eq!(tails[0], 1.0);
    }
}

#[cfg(test)]
mod tests;
