//! `account`: the profile of an account changed.

use churnwatch_core::{
    event::{Fact, Money, ProfilePatch, Segment},
    ids::{AccountId, Feature},
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    account_record,
    field::{Change, Check, Currency, Date, LIST_MAX, Name, Object, Time, Word, ZoneName},
    number::Whole,
};
use crate::rejection::Rejection;

/// The longest contract term that is accepted, in months: a hundred years.
const TERM_MAX_MONTHS: i64 = 1_200;

/// The most seats that are accepted.
const SEATS_MAX: i64 = 10_000_000;

/// The largest amount that is accepted, in minor units.
const AMOUNT_MAX: i64 = 1_000_000_000_000_000;

account_record! {
    /// A merge patch (RFC 7386) of an account's profile: an absent field stays as
    /// it is, a null one is removed, any other is set.
    AccountRecord, "account", {
        /// The account's name, for people. 1 to 512 bytes.
        #[serde(default)]
        name: Change<Name<'a, Box<str>>>,
        /// How closely customer success looks after it: `high`, `low` or `tech` touch.
        #[serde(default)]
        segment: Change<Word<'a, Segment>>,
        /// Name of its plan. 1 to 512 bytes.
        #[serde(default)]
        plan: Change<Name<'a, Box<str>>>,
        /// Its sales region. 1 to 512 bytes.
        #[serde(default)]
        region: Change<Name<'a, Box<str>>>,
        /// Where its days begin and end: an IANA time zone; UTC where unknown.
        #[serde(default)]
        time_zone: Change<ZoneName<'a>>,
        /// When its contract began: RFC 3339 with an offset.
        #[serde(default)]
        started_at: Change<Time<'a>>,
        /// When its current term ends: `YYYY-MM-DD`, or an RFC 3339 time of which
        /// the UTC date counts.
        #[serde(default)]
        renewal_date: Change<Date<'a>>,
        /// Length of its term, in months, 1 to 1200.
        #[serde(default)]
        term_months: Change<Whole<u32, 1, TERM_MAX_MONTHS>>,
        /// Whether the term renews by itself.
        #[serde(default)]
        auto_renew: Change<bool>,
        /// Monthly recurring revenue.
        #[serde(default)]
        mrr: Change<Object<MoneyField<'a>>>,
        /// Seats paid for, 0 to 10 million.
        #[serde(default)]
        seats_purchased: Change<Whole<u32, 0, SEATS_MAX>>,
        /// The CSM in charge. 1 to 512 bytes.
        #[serde(default)]
        owner: Change<Name<'a, Box<str>>>,
        /// The account it belongs to. 1 to 512 bytes.
        #[serde(default)]
        parent_id: Change<Name<'a, AccountId>>,
        /// The features whose use counts as core action, at most 1000; as configured
        /// where unknown.
        #[serde(default)]
        #[schemars(extend("maxItems" = LIST_MAX))]
        core_features: Change<Vec<Name<'a, Feature>>>,
        /// The features it bought beyond the core, at most 1000.
        #[serde(default)]
        #[schemars(extend("maxItems" = LIST_MAX))]
        advanced_features: Change<Vec<Name<'a, Feature>>>,
        /// Whether its onboarding is declared paused.
        #[serde(default)]
        onboarding_paused: Change<bool>,
        /// When it ended: RFC 3339 with an offset. Nothing is judged after it.
        #[serde(default)]
        ended_at: Change<Time<'a>>,
    }
}

/// An amount of money.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(bound(deserialize = "'de: 'a"))]
#[schemars(inline)]
struct MoneyField<'a> {
    /// In minor units of the currency (cents), 0 to 1e15.
    amount: Whole<i64, 0, AMOUNT_MAX>,
    /// ISO 4217 code, upper case.
    currency: Currency<'a>,
}

impl Check for MoneyField<'_> {
    type Checked = Money;

    fn check(&self, field: &str) -> Result<Money, Rejection> {
        Ok(Money {
            amount: self.amount.check(&format!("{field}.amount"))?,
            currency: self.currency.check(&format!("{field}.currency"))?,
        })
    }
}

impl AccountRecord<'_> {
    fn fact(&self) -> Result<Fact, Rejection> {
        Ok(Fact::Account(Box::new(ProfilePatch {
            name: self.name.check("name")?,
            segment: self.segment.check("segment")?,
            plan: self.plan.check("plan")?,
            region: self.region.check("region")?,
            time_zone: self.time_zone.check("time_zone")?,
            started_at: self.started_at.check("started_at")?,
            renewal_date: self.renewal_date.check("renewal_date")?,
            term_months: self.term_months.check("term_months")?,
            auto_renew: self.auto_renew.check("auto_renew")?,
            mrr: self.mrr.check("mrr")?,
            seats_purchased: self.seats_purchased.check("seats_purchased")?,
            owner: self.owner.check("owner")?,
            parent: self.parent_id.check("parent_id")?,
            core_features: self.core_features.check("core_features")?,
            advanced_features: self.advanced_features.check("advanced_features")?,
            onboarding_paused: self.onboarding_paused.check("onboarding_paused")?,
            ended_at: self.ended_at.check("ended_at")?,
        })))
    }
}
