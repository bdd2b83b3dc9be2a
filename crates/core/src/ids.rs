//! Names of things. Each has its own type, so that none is taken for another,
//! and none is ever joined with another by a separator to make a key.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest account id that is accepted, in bytes. Kafka keys, RocksDB
/// keys and PagerDuty-style dedupe keys all carry it.
pub const ACCOUNT_ID_MAX_BYTES: usize = 512;

/// The longest of every other name (users, features, tickets), in bytes.
pub const NAME_MAX_BYTES: usize = 512;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Box<str>);

        impl $name {
            /// Wraps a name as it stands; `wire` has checked its length.
            pub fn new(name: impl Into<Box<str>>) -> Self {
                Self(name.into())
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &self.0)
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self(name.into())
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// A paying customer organisation: what alerts are about, and the key of the log.
    AccountId
}
name! {
    /// A person (or service) that uses the product within an account.
    UserId
}
name! {
    /// A product feature: the name of a usage event.
    Feature
}
name! {
    /// A support ticket.
    TicketId
}
name! {
    /// A person the vendor talks to; may also be a user, or hold no seat at all.
    ContactId
}
name! {
    /// The system a record came from; watermarks are kept per source.
    SourceName
}

impl SourceName {
    /// The source of records that name none, and of clocks that speak for the whole log.
    pub const LOG: &'static str = "log";

    /// The source `log`.
    pub fn log() -> Self {
        Self::from(Self::LOG)
    }

    /// Whether this is the source `log`.
    pub fn is_log(&self) -> bool {
        self.as_str() == Self::LOG
    }
}
