//! One event of the data set, kept small in memory, and its canonical JSON.
//!
//! The order of the fields is that of the structs below, never that of a map,
//! so that the bytes do not depend on how `serde_json` was built.

use std::{fmt, io};

use serde::{Serialize, Serializer};

use super::{
    calendar::Moment,
    names,
    plan::{Region, Segment},
};

/// The number of an account, from 1; reads `acct-0042`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AccountNumber(pub(super) u16);

/// A user's number within an account, from 1; 0 is the account's service user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct UserNumber(pub(super) u8);

impl UserNumber {
    /// The job that connects another system.
    pub(super) const SERVICE: Self = Self(0);
}

/// What happened, to whom and when. The sequence numbers the account's events
/// in order of time.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) time: Moment,
    pub(super) account: AccountNumber,
    pub(super) sequence: u32,
    pub(super) fact: Fact,
}

/// What happened.
#[derive(Debug, Clone)]
pub(super) enum Fact {
    Usage {
        user: UserNumber,
        feature: &'static str,
    },
    Ticket(TicketFact),
    Account(Box<ProfileFact>),
    Seat {
        user: UserNumber,
        action: SeatAction,
        role: Role,
    },
    Contact(ContactFact),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct TicketFact {
    pub(super) ticket: u16,
    pub(super) action: TicketAction,
    pub(super) severity: TicketSeverity,
    pub(super) area: &'static str,
    pub(super) category: &'static str,
    /// In tenths, -10 to 10; known when a ticket is opened.
    pub(super) sentiment_tenths: Option<i8>,
    pub(super) requester: UserNumber,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TicketAction {
    Opened,
    FirstResponse,
    Escalated,
    Resolved,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum TicketSeverity {
    P1,
    P2,
    P3,
    P4,
}

/// A merge-patch of the profile: the fields that are there are set.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct ProfileFact {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) segment: Option<Segment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) plan: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) region: Option<Region>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) renewal_date: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) term_months: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mrr: Option<Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seats_purchased: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<&'static str>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Money {
    /// Minor units (cents).
    pub(super) amount: u32,
    pub(super) currency: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SeatAction {
    Invited,
    Activated,
    Deactivated,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Role {
    Champion,
    Admin,
    Member,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct ContactFact {
    pub(super) user: UserNumber,
    pub(super) action: ContactAction,
    /// The number of the mail thread within the account.
    pub(super) thread: Option<u16>,
    pub(super) until: Option<Moment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ContactAction {
    Meeting,
    MailSent,
    MailAnswered,
    OutOfOffice,
}

impl fmt::Display for AccountNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "acct-{:04}", self.0)
    }
}

impl Serialize for AccountNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The id of something within an account, which tells the account it belongs
/// to, such as `t-0042-003`. Put into words only on the way out, so that events
/// stay small.
struct Id {
    letter: char,
    account: AccountNumber,
    number: u32,
    digits: usize,
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self {
            letter,
            account: AccountNumber(account),
            number,
            digits,
        } = *self;
        serializer.collect_str(&format_args!("{letter}-{account:04}-{number:0digits$}"))
    }
}

/// A user's id: `u-0042-07`, or `u-0042-sync` for the service user.
struct UserId(AccountNumber, UserNumber);

impl Serialize for UserId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(account, user) = *self;
        if user == UserNumber::SERVICE {
            return serializer.collect_str(&format_args!("u-{:04}-sync", account.0));
        }
        Id {
            letter: 'u',
            account,
            number: user.0.into(),
            digits: 2,
        }
        .serialize(serializer)
    }
}

#[derive(Serialize)]
struct Line<F> {
    kind: &'static str,
    account_id: AccountNumber,
    time: Moment,
    id: Id,
    #[serde(flatten)]
    fact: F,
}

#[derive(Serialize)]
struct UsageLine {
    user_id: UserId,
    feature: &'static str,
    actor: &'static str,
}

#[derive(Serialize)]
struct TicketLine {
    ticket_id: Id,
    action: TicketAction,
    severity: TicketSeverity,
    area: &'static str,
    category: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sentiment: Option<f64>,
    requester_id: UserId,
}

#[derive(Serialize)]
struct SeatLine {
    user_id: UserId,
    action: SeatAction,
    role: Role,
}

#[derive(Serialize)]
struct ContactLine {
    contact_id: Id,
    user_id: UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread: Option<Id>,
    action: ContactAction,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Moment>,
}

impl Event {
    /// Writes the canonical JSON, without an end of line.
    pub(super) fn write_json(&self, out: impl io::Write) -> io::Result<()> {
        let account = self.account;
        let user_id = |user| UserId(account, user);
        let id = |letter, number: u32, digits| Id {
            letter,
            account,
            number,
            digits,
        };
        match &self.fact {
            Fact::Usage { user, feature } => {
                let actor = if *user == UserNumber::SERVICE {
                    "service"
                } else {
                    "person"
                };
                self.write_line(
                    out,
                    UsageLine {
                        user_id: user_id(*user),
                        feature,
                        actor,
                    },
                )
            }
            Fact::Ticket(ticket) => self.write_line(
                out,
                TicketLine {
                    ticket_id: id('t', ticket.ticket.into(), 3),
                    action: ticket.action,
                    severity: ticket.severity,
                    area: ticket.area,
                    category: ticket.category,
                    sentiment: ticket
                        .sentiment_tenths
                        .map(|tenths| f64::from(tenths) / 10.0),
                    requester_id: user_id(ticket.requester),
                },
            ),
            Fact::Account(profile) => self.write_line(out, profile),
            Fact::Seat { user, action, role } => self.write_line(
                out,
                SeatLine {
                    user_id: user_id(*user),
                    action: *action,
                    role: *role,
                },
            ),
            Fact::Contact(contact) => self.write_line(
                out,
                ContactLine {
                    contact_id: id('c', contact.user.0.into(), 2),
                    user_id: user_id(contact.user),
                    thread: contact.thread.map(|thread| id('m', thread.into(), 3)),
                    action: contact.action,
                    until: contact.until,
                },
            ),
        }
    }

    fn write_line(&self, out: impl io::Write, fact: impl Serialize) -> io::Result<()> {
        let id = Id {
            letter: 'e',
            account: self.account,
            number: self.sequence,
            digits: 5,
        };
        let line = Line {
            kind: self.fact.kind(),
            account_id: self.account,
            time: self.time,
            id,
            fact,
        };
        serde_json::to_writer(out, &line).map_err(io::Error::from)
    }
}

impl Fact {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Usage { .. } => "usage",
            Self::Ticket(_) => "ticket",
            Self::Account(_) => "account",
            Self::Seat { .. } => "seat",
            Self::Contact(_) => "contact",
        }
    }

    /// A use of one of the product's features by a person.
    pub(super) const fn used(user: UserNumber, feature: usize) -> Self {
        Self::Usage {
            user,
            feature: names::FEATURES[feature],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(fact: Fact) -> String {
        let event = Event {
            time: Moment::on(1, 61),
            account: AccountNumber(42),
            sequence: 7,
            fact,
        };
        let mut bytes = Vec::new();
        event.write_json(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    const COMMON: &str =
        r#""account_id":"acct-0042","time":"2026-01-06T00:01:01Z","id":"e-0042-00007","#;

    #[test]
    fn a_person_and_a_service_use_the_product() {
        assert_eq!(
            json(Fact::used(UserNumber(7), 1)),
            format!(
                r#"{{"kind":"usage",{COMMON}"user_id":"u-0042-07","feature":"order_planned","actor":"person"}}"#
            )
        );
        assert_eq!(
            json(Fact::Usage {
                user: UserNumber::SERVICE,
                feature: names::SERVICE_FEATURE
            }),
            format!(
                r#"{{"kind":"usage",{COMMON}"user_id":"u-0042-sync","feature":"stock_synced","actor":"service"}}"#
            )
        );
    }

    #[test]
    fn a_ticket_says_who_asked_and_how_they_felt() {
        let ticket = TicketFact {
            ticket: 3,
            action: TicketAction::FirstResponse,
            severity: TicketSeverity::P2,
            area: "imports",
            category: "bug",
            sentiment_tenths: Some(-4),
            requester: UserNumber(2),
        };
        assert_eq!(
            json(Fact::Ticket(ticket)),
            format!(
                r#"{{"kind":"ticket",{COMMON}"ticket_id":"t-0042-003","action":"first_response","severity":"P2","area":"imports","category":"bug","sentiment":-0.4,"requester_id":"u-0042-02"}}"#
            )
        );
    }

    #[test]
    fn a_profile_patch_names_only_what_it_sets() {
        let patch = ProfileFact {
            mrr: Some(Money {
                amount: 129_900,
                currency: "EUR",
            }),
            renewal_date: Some("2026-09-30".to_owned()),
            ..ProfileFact::default()
        };
        assert_eq!(
            json(Fact::Account(Box::new(patch))),
            format!(
                r#"{{"kind":"account",{COMMON}"renewal_date":"2026-09-30","mrr":{{"amount":129900,"currency":"EUR"}}}}"#
            )
        );
    }

    #[test]
    fn a_contact_is_away_until_a_date() {
        let contact = ContactFact {
            user: UserNumber(1),
            action: ContactAction::OutOfOffice,
            thread: None,
            until: Some(Moment::on(26, 0)),
        };
        assert_eq!(
            json(Fact::Contact(contact)),
            format!(
                r#"{{"kind":"contact",{COMMON}"contact_id":"c-0042-01","user_id":"u-0042-01","action":"out_of_office","until":"2026-01-31T00:00:00Z"}}"#
            )
        );
    }
}
