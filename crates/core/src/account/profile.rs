//! What is known about an account apart from what it does.

use serde::{Deserialize, Serialize};

use crate::{
    event::{Money, ProfilePatch, Segment},
    ids::{AccountId, Feature},
    time::{Day, EventTime, Zone},
};

/// An account's profile: the sum of its `account` records.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Profile {
    /// For people.
    pub name: Option<Box<str>>,
    /// As declared; see [`crate::Rules::segment_of`] for the one in force.
    pub segment: Option<Segment>,
    /// Name of the plan.
    pub plan: Option<Box<str>>,
    /// Sales region.
    pub region: Option<Box<str>>,
    /// Where its days begin and end.
    pub time_zone: Option<Zone>,
    /// When the contract began.
    pub started_at: Option<EventTime>,
    /// When the current term ends.
    pub renewal_date: Option<Day>,
    /// Length of the term, in months.
    pub term_months: Option<u32>,
    /// Whether the term renews by itself.
    pub auto_renew: Option<bool>,
    /// Monthly recurring revenue.
    pub mrr: Option<Money>,
    /// Seats paid for.
    pub seats_purchased: Option<u32>,
    /// The CSM in charge.
    pub owner: Option<Box<str>>,
    /// The account it belongs to.
    pub parent: Option<AccountId>,
    /// Usage that counts as core action; `None`: as configured.
    pub core_features: Option<Vec<Feature>>,
    /// Features bought beyond the core.
    pub advanced_features: Option<Vec<Feature>>,
    /// Whether onboarding is declared paused.
    pub onboarding_paused: Option<bool>,
    /// When the account ended; nothing is judged after it.
    pub ended_at: Option<EventTime>,
}

impl Profile {
    /// Applies a merge patch.
    pub fn merge(&mut self, patch: ProfilePatch) {
        patch.name.apply(&mut self.name);
        patch.segment.apply(&mut self.segment);
        patch.plan.apply(&mut self.plan);
        patch.region.apply(&mut self.region);
        patch.time_zone.apply(&mut self.time_zone);
        patch.started_at.apply(&mut self.started_at);
        patch.renewal_date.apply(&mut self.renewal_date);
        patch.term_months.apply(&mut self.term_months);
        patch.auto_renew.apply(&mut self.auto_renew);
        patch.mrr.apply(&mut self.mrr);
        patch.seats_purchased.apply(&mut self.seats_purchased);
        patch.owner.apply(&mut self.owner);
        patch.parent.apply(&mut self.parent);
        patch.core_features.apply(&mut self.core_features);
        patch.advanced_features.apply(&mut self.advanced_features);
        patch.onboarding_paused.apply(&mut self.onboarding_paused);
        patch.ended_at.apply(&mut self.ended_at);
    }
}
