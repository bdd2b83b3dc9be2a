//! How the program ends: exit codes after BSD's `sysexits.h`, so that a script
//! or a supervisor can tell what to do.

use std::process::ExitCode;

/// Why a command failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The command line is wrong (clap says so by itself).
    Usage,
    /// An input file cannot be used.
    Input,
    /// The broker cannot be reached, or a topic is missing.
    Unavailable,
    /// A mistake in the program.
    Internal,
    /// An output file cannot be written, or the disk is full.
    Output,
    /// Another process holds the state directory.
    Busy,
    /// The configuration is wrong.
    Config,
}

/// Every failure with its code and when it is used; the manual is made of it.
pub(crate) const CODES: &[(Failure, u8, &str)] = &[
    (Failure::Usage, 64, "the command line is wrong"),
    (Failure::Input, 66, "an input file cannot be opened or read"),
    (
        Failure::Unavailable,
        69,
        "the broker cannot be reached, or a topic is missing or wrong",
    ),
    (
        Failure::Internal,
        70,
        "the program or its state is at fault: see the message",
    ),
    (
        Failure::Output,
        74,
        "an output cannot be written, or the disk is full",
    ),
    (
        Failure::Busy,
        75,
        "another process holds the state directory: try again when it is gone",
    ),
    (
        Failure::Config,
        78,
        "the configuration is wrong; nothing was started",
    ),
];

impl Failure {
    pub(crate) fn code(self) -> ExitCode {
        let code = CODES
            .iter()
            .find(|(failure, ..)| *failure == self)
            .map_or(70, |(_, code, _)| *code);
        ExitCode::from(code)
    }
}

/// An error that knows how the program ends.
#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) failure: Failure,
    pub(crate) error: anyhow::Error,
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

impl std::error::Error for Exit {}

/// Gives an error its exit code.
pub(crate) trait OrExit<T> {
    /// The value, or the error under this failure.
    fn or_exit(self, failure: Failure) -> Result<T, Exit>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, failure: Failure) -> Result<T, Exit> {
        self.map_err(|error| Exit {
            failure,
            error: error.into(),
        })
    }
}

impl From<churnwatch_store::StoreError> for Exit {
    fn from(error: churnwatch_store::StoreError) -> Self {
        use churnwatch_store::StoreError;
        let failure = match &error {
            StoreError::Locked { .. } => Failure::Busy,
            StoreError::DiskFull { .. } | StoreError::Io { .. } => Failure::Output,
            StoreError::PartitionCount { .. } | StoreError::NewerFormat { .. } => Failure::Config,
            _ => Failure::Internal,
        };
        Self {
            failure,
            error: error.into(),
        }
    }
}

impl From<churnwatch_pipeline::DetectError> for Exit {
    fn from(error: churnwatch_pipeline::DetectError) -> Self {
        use churnwatch_pipeline::{DetectError, SourceError};
        let failure = match error {
            DetectError::Store(error) => return error.into(),
            DetectError::Source(SourceError::Fatal(_)) => Failure::Input,
            DetectError::Source(_) => Failure::Unavailable,
            DetectError::Commit(_) => Failure::Output,
            DetectError::OutOfOrder { .. } => Failure::Internal,
        };
        Self {
            failure,
            error: error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_a_code_of_its_own_within_the_sysexits_range() {
        let mut codes: Vec<u8> = CODES.iter().map(|(_, code, _)| *code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), CODES.len());
        assert!(codes.iter().all(|code| (64..=78).contains(code)));
    }
}
