//! What an error means for the transaction it came in the way of.

use churnwatch_pipeline::sink::CommitError;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::transaction::CallError;

/// How far a transaction came when something went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The commit was not asked for: nothing can come true.
    BeforeCommit,
    Commit,
}

/// What a transaction asked the broker for before something went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reached {
    /// To take records, at most.
    Records,
    /// To take offsets too.
    Offsets,
    /// To commit: it may have done so.
    Commit,
}

impl Reached {
    fn in_phase(phase: Phase) -> Self {
        match phase {
            Phase::BeforeCommit => Self::Offsets,
            Phase::Commit => Self::Commit,
        }
    }
}

/// Something went wrong, and what to do about it.
pub(super) struct Failed {
    pub(super) error: CommitError,
    /// The broker can be told at once that the transaction is over.
    pub(super) abort: bool,
    /// The group went on to another generation just then, and said no to the
    /// one before. A member that stays may commit the same epoch under the new
    /// one, once the transaction is aborted.
    pub(super) stale: bool,
    pub(super) reached: Reached,
}

/// A record that librdkafka did not take.
pub(super) fn not_sent(topic: &str, error: &KafkaError) -> Failed {
    let text = format!("a record for {topic} was not taken: {error}");
    match error.rdkafka_error_code() {
        // Done again, it would be as large again.
        Some(Code::MessageSizeTooLarge) => Failed {
            error: CommitError::Fatal(text),
            abort: true,
            stale: false,
            reached: Reached::Records,
        },
        _ => aborted(text),
    }
}

pub(super) fn aborted(text: String) -> Failed {
    Failed {
        error: CommitError::Aborted(text),
        abort: true,
        stale: false,
        reached: Reached::Records,
    }
}

/// What a failed call means.
pub(super) fn failed(phase: Phase, error: &CallError) -> Failed {
    let CallError::Kafka(error) = error else {
        let text = "the broker did not answer in time; the producer is left behind".to_owned();
        let error = match phase {
            Phase::BeforeCommit => CommitError::Aborted(text),
            Phase::Commit => CommitError::InDoubt(text),
        };
        return Failed {
            error,
            abort: false,
            stale: false,
            reached: Reached::in_phase(phase),
        };
    };
    let requires_abort =
        matches!(error, KafkaError::Transaction(error) if error.txn_requires_abort());
    // librdkafka asks for an abort only when the broker did not commit.
    let phase = if requires_abort {
        Phase::BeforeCommit
    } else {
        phase
    };
    let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
    Failed {
        error: verdict(phase, code, error.to_string()),
        abort: requires_abort,
        stale: requires_abort && code == Code::IllegalGeneration,
        reached: Reached::in_phase(phase),
    }
}

pub(super) fn verdict(phase: Phase, code: Code, text: String) -> CommitError {
    match phase {
        _ if is_fenced(code) => CommitError::Fenced(text),
        Phase::BeforeCommit if needs_a_person(code) => CommitError::Fatal(text),
        Phase::BeforeCommit => CommitError::Aborted(text),
        Phase::Commit => CommitError::InDoubt(text),
    }
}

/// Somebody else has our transactional id, or our place in the group.
fn is_fenced(code: Code) -> bool {
    matches!(
        code,
        Code::Fenced
            | Code::ProducerFenced
            | Code::InvalidProducerEpoch
            | Code::FencedInstanceId
            | Code::IllegalGeneration
            | Code::UnknownMemberId
    )
}

/// No retry helps against these.
pub(super) fn needs_a_person(code: Code) -> bool {
    matches!(
        code,
        Code::TransactionalIdAuthorizationFailed
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::InvalidTransactionTimeout
            | Code::UnsupportedFeature
            | Code::MessageSizeTooLarge
            | Code::OffsetMetadataTooLarge
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(phase: Phase, code: Code) -> &'static str {
        verdict(phase, code, String::new()).reason()
    }

    #[test]
    fn before_the_commit_was_asked_for_nothing_is_in_doubt() {
        for code in [
            Code::OperationTimedOut,
            Code::BrokerTransportFailure,
            Code::InvalidTransactionalState,
        ] {
            assert_eq!(kind(Phase::BeforeCommit, code), "aborted", "{code:?}");
            assert_eq!(kind(Phase::Commit, code), "in_doubt", "{code:?}");
        }
        assert_eq!(
            failed(Phase::BeforeCommit, &CallError::Hung).error.reason(),
            "aborted"
        );
        assert_eq!(
            failed(Phase::Commit, &CallError::Hung).error.reason(),
            "in_doubt"
        );
    }

    #[test]
    fn a_taken_place_is_fenced_in_every_phase() {
        for code in [
            Code::Fenced,
            Code::InvalidProducerEpoch,
            Code::IllegalGeneration,
            Code::FencedInstanceId,
        ] {
            assert_eq!(kind(Phase::BeforeCommit, code), "fenced", "{code:?}");
            assert_eq!(kind(Phase::Commit, code), "fenced", "{code:?}");
        }
    }

    #[test]
    fn a_missing_permission_is_not_tried_again() {
        assert_eq!(
            kind(Phase::BeforeCommit, Code::TopicAuthorizationFailed),
            "fatal"
        );
        assert_eq!(
            kind(Phase::Commit, Code::TopicAuthorizationFailed),
            "in_doubt"
        );
    }

    #[test]
    fn a_hung_producer_is_not_asked_to_abort() {
        assert!(!failed(Phase::Commit, &CallError::Hung).abort);
    }
}
