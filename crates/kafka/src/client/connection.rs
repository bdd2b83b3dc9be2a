//! Whether a client reaches its brokers, as `/readyz` should say it.

use std::sync::atomic::{AtomicBool, Ordering};

use churnwatch_telemetry::Health;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

/// A client's contact with its brokers. Errors that stop the client are a
/// cause against readiness until the next sign of life; all are logged.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Our name for the client: the component in [`Health`] and in logs.
    name: String,
    health: Health,
    /// Whether a cause is set; spares the hot path a lock.
    troubled: AtomicBool,
}

impl Connection {
    pub(crate) fn new(name: String, health: Health) -> Self {
        Self {
            name,
            health,
            troubled: AtomicBool::new(false),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// librdkafka reported an error, with its own words for it.
    pub(crate) fn error(&self, error: &KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else {
            return;
        };
        if is_no_trouble(code) {
            return;
        }
        let text = if reason.is_empty() {
            explained(code, &error.to_string())
        } else {
            explained(code, reason)
        };
        tracing::warn!(target: "librdkafka", client = self.name, code = ?code, "{text}");
        if stops_the_client(code) {
            self.trouble(text);
        }
    }

    /// The client cannot go on for now, because of this.
    pub(crate) fn trouble(&self, cause: String) {
        self.troubled.store(true, Ordering::Release);
        self.health.set_cause(&self.name, Some(cause));
    }

    /// A broker answered: whatever was wrong is over.
    pub(crate) fn works(&self) {
        if self.troubled.load(Ordering::Acquire) {
            self.troubled.store(false, Ordering::Release);
            self.health.set_cause(&self.name, None);
            tracing::info!(target: "librdkafka", client = self.name, "in contact with the brokers again");
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // A client that was closed is no reason against readiness.
        if self.troubled.load(Ordering::Acquire) {
            self.health.set_cause(&self.name, None);
        }
    }
}

/// librdkafka's words for an error, and where to look.
pub(crate) fn explained(code: Code, reason: &str) -> String {
    let look_at = match code {
        Code::Authentication | Code::SaslAuthenticationFailed => {
            "check kafka.security.sasl.username and the file kafka.security.sasl.password_file"
        }
        Code::SSL => {
            "check that kafka.security.tls.ca_file has the authority of the brokers, and that kafka.bootstrap_servers \
             names them as their certificates do, which kafka.security.tls.verify_hostname asks for"
        }
        Code::GroupAuthorizationFailed => {
            "give the user the right to `Read` on the group kafka.group_id"
        }
        Code::TransactionalIdAuthorizationFailed => {
            "give the user the right to `Write` on the transactional ids that begin with kafka.group_id and `-`"
        }
        _ => return reason.to_owned(),
    };
    format!("{reason}: {look_at}")
}

/// Events that arrive as errors and are none.
fn is_no_trouble(code: Code) -> bool {
    matches!(code, Code::PartitionEOF | Code::NoError)
}

/// A single broker's connection may fail without harm: librdkafka reconnects,
/// and says `AllBrokersDown` when none is left.
fn stops_the_client(code: Code) -> bool {
    matches!(
        code,
        Code::AllBrokersDown
            | Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::SSL
            | Code::Resolve
            | Code::Fatal
            | Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::FencedInstanceId
            | Code::UnsupportedVersion
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> (Health, Connection) {
        let health = Health::new();
        (
            health.clone(),
            Connection::new("kafka-source-0".into(), health),
        )
    }

    #[test]
    fn no_broker_left_is_a_cause_until_one_answers() {
        let (health, connection) = connection();
        connection.error(
            &KafkaError::Global(Code::AllBrokersDown),
            "1/1 brokers are down",
        );
        assert_eq!(
            health.readiness(),
            [(
                "kafka-source-0".to_owned(),
                "1/1 brokers are down".to_owned()
            )]
        );
        connection.works();
        assert_eq!(health.readiness(), []);
    }

    #[test]
    fn one_lost_connection_is_no_cause() {
        let (health, connection) = connection();
        connection.error(
            &KafkaError::Global(Code::BrokerTransportFailure),
            "broker 1: disconnected",
        );
        assert_eq!(health.readiness(), []);
    }

    #[test]
    fn a_closed_client_leaves_no_cause_behind() {
        let (health, connection) = connection();
        connection.trouble("no broker answers".into());
        drop(connection);
        assert_eq!(health.readiness(), []);
    }
}
