//! The words that fields with a fixed vocabulary may hold.
//!
//! Each enumeration of the core is written in one way only. The list here is
//! at once what is accepted, what is written, what the JSON Schemas enumerate
//! and what a rejection proposes.

use std::{borrow::Cow, marker::PhantomData};

use churnwatch_core::{
    alert::{AlertPhase, ResolveReason, Severity, TransitionKind},
    event::{
        Actor, CommandAction, ContactAction, Role, SeatAction, Segment, TicketAction,
        TicketSeverity,
    },
    signal::SignalId,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A closed set of words.
pub(crate) trait Vocabulary: Copy + Send + Sync + 'static {
    /// Every member, in the order in which messages and schemas list them.
    const ALL: &'static [Self];

    /// The word for this member.
    fn word(self) -> &'static str;

    /// The member for a word; case matters.
    fn of(word: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|member| member.word() == word)
    }

    /// All words, for a message.
    fn words() -> String {
        Self::ALL
            .iter()
            .map(|member| member.word())
            .collect::<Vec<_>>()
            .join(", ")
    }
}

macro_rules! vocabulary {
    ($($set:ident { $($member:ident = $word:literal,)* })*) => {
        $(impl Vocabulary for $set {
            const ALL: &'static [Self] = &[$(Self::$member,)*];

            fn word(self) -> &'static str {
                // Exhaustive: a new member does not compile until it has a word.
                match self {
                    $(Self::$member => $word,)*
                }
            }
        })*
    };
}

/// Who has to move for a ticket to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Party {
    /// The account.
    Customer,
    /// We.
    Vendor,
}

/// What a person thinks of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It told something new and true.
    Useful,
    /// It was wrong.
    FalseAlarm,
    /// True, but known before.
    AlreadyKnown,
}

vocabulary! {
    Actor { Person = "person", Service = "service", }
    TicketAction {
        Opened = "opened",
        FirstResponse = "first_response",
        Escalated = "escalated",
        Reopened = "reopened",
        Resolved = "resolved",
        SlaBreached = "sla_breached",
        Waiting = "waiting",
    }
    TicketSeverity { P1 = "P1", P2 = "P2", P3 = "P3", P4 = "P4", }
    Party { Customer = "customer", Vendor = "vendor", }
    Segment { High = "high", Low = "low", Tech = "tech", }
    Role {
        Champion = "champion",
        Sponsor = "sponsor",
        Owner = "owner",
        Admin = "admin",
        Member = "member",
    }
    SeatAction {
        Invited = "invited",
        Activated = "activated",
        Deactivated = "deactivated",
        RoleChanged = "role_changed",
    }
    ContactAction {
        Meeting = "meeting",
        MailSent = "mail_sent",
        MailAnswered = "mail_answered",
        Bounced = "bounced",
        Left = "left",
        Joined = "joined",
        OutOfOffice = "out_of_office",
        Advocacy = "advocacy",
    }
    CommandAction { Acknowledge = "acknowledge", Snooze = "snooze", Resolve = "resolve", }
    Verdict { Useful = "useful", FalseAlarm = "false_alarm", AlreadyKnown = "already_known", }
    TransitionKind {
        Opened = "opened",
        Escalated = "escalated",
        Updated = "updated",
        Resolved = "resolved",
        Reopened = "reopened",
    }
    AlertPhase {
        Open = "open",
        Acknowledged = "acknowledged",
        Snoozed = "snoozed",
        Resolved = "resolved",
    }
    Severity { Info = "info", Warning = "warning", Critical = "critical", }
    ResolveReason {
        Cleared = "cleared",
        Rebased = "rebased",
        Expired = "expired",
        Manual = "manual",
        Superseded = "superseded",
        AccountEnded = "account_ended",
        Erased = "erased",
    }
}

impl Vocabulary for SignalId {
    const ALL: &'static [Self] = Self::ALL;

    fn word(self) -> &'static str {
        self.as_str()
    }

    fn of(word: &str) -> Option<Self> {
        Self::named(word)
    }
}

/// The schema of a field that holds one of `T`'s words.
pub(crate) struct OneOf<T>(PhantomData<T>);

impl<T: Vocabulary> JsonSchema for OneOf<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Word".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words: Vec<_> = T::ALL.iter().map(|member| member.word()).collect();
        json_schema!({ "type": "string", "enum": words })
    }
}

/// Writes a member as its word: `#[serde(with = "vocabulary")]`.
pub(crate) fn serialize<T: Vocabulary, S: Serializer>(
    member: &T,
    to: S,
) -> Result<S::Ok, S::Error> {
    member.word().serialize(to)
}

/// Reads a member by its word: `#[serde(with = "vocabulary")]`.
pub(crate) fn deserialize<'de, T: Vocabulary, D: Deserializer<'de>>(
    from: D,
) -> Result<T, D::Error> {
    let word = Cow::<str>::deserialize(from)?;
    T::of(&word)
        .ok_or_else(|| de::Error::custom(format_args!("{word:?} is none of: {}", T::words())))
}

/// The same for a field that may be null.
pub(crate) mod optional {
    use super::*;

    pub(crate) fn serialize<T: Vocabulary, S: Serializer>(
        member: &Option<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        member.map(T::word).serialize(to)
    }

    pub(crate) fn deserialize<'de, T: Vocabulary, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<T>, D::Error> {
        let word = Option::<Cow<str>>::deserialize(from)?;
        word.map(|word| super::deserialize(de::value::CowStrDeserializer::new(word)))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads_back<T: Vocabulary + PartialEq + std::fmt::Debug>() {
        for &member in T::ALL {
            assert_eq!(T::of(member.word()), Some(member));
        }
        assert_eq!(T::of("no such word"), None);
    }

    #[test]
    fn every_word_stands_for_one_member() {
        reads_back::<Actor>();
        reads_back::<TicketAction>();
        reads_back::<TicketSeverity>();
        reads_back::<Segment>();
        reads_back::<Role>();
        reads_back::<SeatAction>();
        reads_back::<ContactAction>();
        reads_back::<CommandAction>();
        reads_back::<TransitionKind>();
        reads_back::<AlertPhase>();
        reads_back::<Severity>();
        reads_back::<ResolveReason>();
        reads_back::<SignalId>();
    }

    #[test]
    fn the_words_are_those_of_the_core() {
        fn same<T: Vocabulary>(of_core: fn(T) -> &'static str) {
            for &member in T::ALL {
                assert_eq!(member.word(), of_core(member));
            }
        }
        same::<Severity>(|s| s.as_str());
        same::<AlertPhase>(|s| s.as_str());
        same::<ResolveReason>(|s| s.as_str());
        same::<TransitionKind>(|s| s.as_str());
        same::<Segment>(|s| s.as_str());
        same::<Role>(|s| s.as_str());
    }
}
