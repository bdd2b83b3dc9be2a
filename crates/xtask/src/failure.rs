//! What went wrong, for a person at a terminal: one message that names what is
//! at fault and what to do, and the exit code to leave with.

use std::fmt::Display;

/// Exit code of a check that did not hold or a step that failed.
pub(crate) const EXIT_FAILED: u8 = 1;
/// Exit code where an input could not be read, so nothing was checked.
pub(crate) const EXIT_UNREADABLE: u8 = 2;
/// Exit code of a wrong command line (`EX_USAGE` of sysexits).
pub(crate) const EXIT_USAGE: u8 = 64;

/// Shorthand for what every fallible function of this crate returns.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// Why a subcommand stops.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    exit_code: u8,
}

impl Failure {
    /// A check that did not hold, or a step that failed: exit code 1.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            exit_code: EXIT_FAILED,
        }
    }

    /// An input that cannot be read: exit code 2.
    pub(crate) fn unreadable(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            exit_code: EXIT_UNREADABLE,
        }
    }

    /// A wrong command line: exit code 64.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            exit_code: EXIT_USAGE,
        }
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn exit_code(&self) -> u8 {
        self.exit_code
    }
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Failure::usage(error.to_string())
    }
}

/// Says what was being done when an error arose.
pub(crate) trait While<T> {
    /// Turns the error into a [`Failure`]: "cannot `doing`: `error`".
    fn while_doing(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Display> While<T> for std::result::Result<T, E> {
    fn while_doing(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Failure::new(format!("cannot {}: {error}", doing())))
    }
}
