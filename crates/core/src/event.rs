//! What may happen to an account, as decoded from the log by `wire`.
//!
//! An [`Event`] names its account, its event time, the source it came from
//! and one [`Fact`]. Names and numbers in it have been checked: lengths,
//! ranges and times are within the contract.

use crate::{
    ids::{AccountId, ContactId, Feature, SourceName, TicketId, UserId},
    time::{Day, EventTime, Zone},
};
use serde::{Deserialize, Serialize};

/// One decoded fact about one account.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Whom it is about.
    pub account: AccountId,
    /// When it happened.
    pub time: EventTime,
    /// Hash of the producer's id, by which repeats are known.
    pub id: Option<EventId>,
    /// The system it came from.
    pub source: SourceName,
    /// What happened.
    pub fact: Fact,
}

/// A 64-bit hash of a producer's event id: enough to recognise a repeat among
/// the few dozen ids an account remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(pub u64);

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// Somebody used the product.
    Usage(Usage),
    /// A support ticket moved.
    Ticket(Ticket),
    /// The account's profile changed.
    Account(Box<ProfilePatch>),
    /// A seat was given, taken or changed its role.
    Seat(SeatChange),
    /// The vendor and a contact met, wrote, or lost sight of each other.
    Contact(ContactTouch),
    /// A person acted on an alert.
    Command(Command),
    /// Everything that is kept about the account is to be forgotten.
    Erase,
}

impl Fact {
    /// The canonical kind, as written in the log.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Usage(_) => "usage",
            Self::Ticket(_) => "ticket",
            Self::Account(_) => "account",
            Self::Seat(_) => "seat",
            Self::Contact(_) => "contact",
            Self::Command(_) => "command",
            Self::Erase => "erase",
        }
    }
}

/// Who acted: a person, or a service account or API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Actor {
    /// A human being.
    #[default]
    Person,
    /// A machine; never counts as a core action.
    Service,
}

/// A use of the product.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    /// Who used it, where known.
    pub user: Option<UserId>,
    /// What was used.
    pub feature: Feature,
    /// How much (business volume of features that count it); 0 to 1e12.
    pub quantity: f64,
    /// Person or service.
    pub actor: Actor,
}

/// How bad a ticket is; P1 is the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TicketSeverity {
    /// Production down.
    P1,
    /// Severe.
    P2,
    /// Normal.
    P3,
    /// Minor.
    P4,
}

/// What happened to a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TicketAction {
    /// Newly opened.
    Opened,
    /// The vendor answered for the first time.
    FirstResponse,
    /// Passed to a higher level.
    Escalated,
    /// Opened again after it was resolved.
    Reopened,
    /// Resolved.
    Resolved,
    /// A promised time was missed.
    SlaBreached,
    /// Waiting for somebody.
    Waiting,
}

/// A movement of a support ticket.
#[derive(Debug, Clone, PartialEq)]
pub struct Ticket {
    /// Which ticket.
    pub ticket: TicketId,
    /// What happened to it.
    pub action: TicketAction,
    /// How bad it is; P3 where the record says nothing.
    pub severity: TicketSeverity,
    /// Product area.
    pub area: Option<Feature>,
    /// Tone of the customer, -1 (angry) to 1.
    pub sentiment: Option<f64>,
    /// Who asked.
    pub requester: Option<UserId>,
}

/// One field of a merge patch: left alone, set, or removed.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Patch<T> {
    /// The record does not mention it.
    #[default]
    Keep,
    /// The record sets it.
    Set(T),
    /// The record says `null`.
    Remove,
}

impl<T> Patch<T> {
    /// Applies the patch to the stored value.
    pub fn apply(self, stored: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Set(value) => *stored = Some(value),
            Self::Remove => *stored = None,
        }
    }
}

/// How closely customer success looks after an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Segment {
    /// A named manager, regular meetings.
    High,
    /// A manager for many accounts.
    #[default]
    Low,
    /// Automated contact only.
    Tech,
}

impl Segment {
    /// The name used in contracts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Low => "low",
            Self::Tech => "tech",
        }
    }
}

/// An amount of money in minor units (cents) of one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// Minor units; never negative for MRR.
    pub amount: i64,
    /// ISO 4217 code, upper case.
    pub currency: Box<str>,
}

/// A merge patch of an account's profile.
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(
    missing_docs,
    reason = "the fields are those of account::Profile, documented there"
)]
pub struct ProfilePatch {
    pub name: Patch<Box<str>>,
    pub segment: Patch<Segment>,
    pub plan: Patch<Box<str>>,
    pub region: Patch<Box<str>>,
    pub time_zone: Patch<Zone>,
    pub started_at: Patch<EventTime>,
    pub renewal_date: Patch<Day>,
    pub term_months: Patch<u32>,
    pub auto_renew: Patch<bool>,
    pub mrr: Patch<Money>,
    pub seats_purchased: Patch<u32>,
    pub owner: Patch<Box<str>>,
    pub parent: Patch<AccountId>,
    pub core_features: Patch<Vec<Feature>>,
    pub advanced_features: Patch<Vec<Feature>>,
    pub onboarding_paused: Patch<bool>,
    pub ended_at: Patch<EventTime>,
}

/// What a person is to the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Drives the product's use inside the account.
    Champion,
    /// Pays for it.
    Sponsor,
    /// Owns the workspace.
    Owner,
    /// Administers it.
    Admin,
    /// Uses it.
    Member,
}

impl Role {
    /// The name used in contracts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Champion => "champion",
            Self::Sponsor => "sponsor",
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Member => "member",
        }
    }
}

/// What happened to a seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeatAction {
    /// An invitation was sent.
    Invited,
    /// The user logged in for the first time.
    Activated,
    /// The seat was taken away.
    Deactivated,
    /// The user's role changed.
    RoleChanged,
}

/// A change of a seat.
#[derive(Debug, Clone, PartialEq)]
pub struct SeatChange {
    /// Whose seat.
    pub user: UserId,
    /// What happened.
    pub action: SeatAction,
    /// The role from now on, where the record names one.
    pub role: Option<Role>,
}

/// What passed between the vendor and a contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContactAction {
    /// They met.
    Meeting,
    /// The vendor wrote.
    MailSent,
    /// The contact answered.
    MailAnswered,
    /// A mail could not be delivered.
    Bounced,
    /// The contact left the account.
    Left,
    /// The contact joined the account.
    Joined,
    /// The contact is away until a date.
    OutOfOffice,
    /// The contact spoke for the product.
    Advocacy,
}

/// A touch between the vendor and a contact.
#[derive(Debug, Clone, PartialEq)]
pub struct ContactTouch {
    /// Which contact.
    pub contact: ContactId,
    /// The contact's role, where the record names one.
    pub role: Option<Role>,
    /// The contact's user, where they also use the product.
    pub user: Option<UserId>,
    /// What happened.
    pub action: ContactAction,
    /// Until when an absence lasts.
    pub until: Option<EventTime>,
}

/// What a person does to an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandAction {
    /// Somebody is on it.
    Acknowledge,
    /// Not before a date.
    Snooze,
    /// Done.
    Resolve,
}

/// A person's action on an alert, itself a record of the log, so that a replay
/// includes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// What to do.
    pub action: CommandAction,
    /// Which alert.
    pub alert_key: Box<str>,
    /// For a snooze: until when.
    pub until: Option<EventTime>,
    /// Who.
    pub by: Box<str>,
}

/// A `clock` record: this shard of the source has been read up to its end as
/// of `time`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    /// Which source; `log` speaks for every source.
    pub source: SourceName,
    /// Which part of the source, below `shards`.
    pub shard: u32,
    /// How many parts the source has; 1 to 4096.
    pub shards: u32,
    /// Nothing older is still to come from this shard.
    pub time: EventTime,
}

/// A `resume` record: a person lets a partition go on that was stopped because
/// too many of its records could not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resume {
    /// Where it stands still: the next record to be read.
    pub offset: i64,
    /// Records below this offset are let through.
    pub until: i64,
}
