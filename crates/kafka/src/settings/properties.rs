//! Properties of librdkafka that a user may not set, each with its reason.

/// For which clients a property is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientKind {
    /// Reads.
    Consumer,
    /// Writes.
    Producer,
    /// Sets topics up.
    Admin,
}

/// Why a property is refused, if it is.
pub(super) fn refusal(property: &str) -> Option<&'static str> {
    REFUSED
        .iter()
        .find(|(name, _)| *name == property)
        .map(|(_, reason)| *reason)
        .or_else(|| is_secret(property).then_some(SECRET))
}

/// Whether the value is one that nobody may see. `config show` prints every
/// property; librdkafka gets new ones with each version.
fn is_secret(property: &str) -> bool {
    let secrets = [
        "password",
        "passphrase",
        "secret",
        "key.pem",
        "oauthbearer.config",
    ];
    secrets.iter().any(|secret| property.contains(secret))
}

const OFFSETS_IN_TRANSACTION: &str = "offsets are committed with the alerts, in one transaction";
const POSITION: &str = "the position is set from the committed one, never by a default";
const COMMITTED: &str =
    "only committed records may be read, or an aborted one could raise an alert";
const SAME_AS_JAVA: &str =
    "accounts must go to the partition that Java's default partitioner gives them";
const EXACTLY_ONCE: &str = "alerts, state and offsets are written in transactions";
const COOPERATIVE: &str =
    "partitions are handed over one by one by the cooperative-sticky assignor";
const HOOKS: &str = "it would put something else in the place of our own code";
const NAMES: &str = "it is derived from group_id, instance_id and the worker";
const SECURITY: &str = "use the section kafka.security";
const SECRET: &str = "secrets are read from files only: use the section kafka.security";

const REFUSED: &[(&str, &str)] = &[
    // What exactly-once rests on.
    ("enable.auto.commit", OFFSETS_IN_TRANSACTION),
    ("auto.commit.enable", OFFSETS_IN_TRANSACTION),
    ("auto.commit.interval.ms", OFFSETS_IN_TRANSACTION),
    ("enable.auto.offset.store", OFFSETS_IN_TRANSACTION),
    ("offset.store.method", OFFSETS_IN_TRANSACTION),
    ("offset.store.path", OFFSETS_IN_TRANSACTION),
    ("isolation.level", COMMITTED),
    ("auto.offset.reset", POSITION),
    ("transactional.id", NAMES),
    ("enable.idempotence", EXACTLY_ONCE),
    ("acks", EXACTLY_ONCE),
    ("request.required.acks", EXACTLY_ONCE),
    ("max.in.flight", EXACTLY_ONCE),
    ("max.in.flight.requests.per.connection", EXACTLY_ONCE),
    ("retries", EXACTLY_ONCE),
    ("message.send.max.retries", EXACTLY_ONCE),
    ("message.timeout.ms", EXACTLY_ONCE),
    ("delivery.timeout.ms", EXACTLY_ONCE),
    ("queuing.strategy", EXACTLY_ONCE),
    (
        "message.max.bytes",
        "a dead letter must fit, or it would stop its partition",
    ),
    (
        "enable.partition.eof",
        "the end of the changelog is judged by it",
    ),
    (
        "allow.auto.create.topics",
        "topics are made by `churnwatch topics create`, with their settings",
    ),
    // Who gets which account, and which partition.
    ("partitioner", SAME_AS_JAVA),
    ("partitioner_cb", SAME_AS_JAVA),
    ("msg_order_cmp", HOOKS),
    ("partition.assignment.strategy", COOPERATIVE),
    ("group.protocol", COOPERATIVE),
    ("group.remote.assignor", COOPERATIVE),
    ("group.instance.id", NAMES),
    ("client.id", NAMES),
    // What has a key of its own.
    ("bootstrap.servers", "use kafka.bootstrap_servers"),
    ("metadata.broker.list", "use kafka.bootstrap_servers"),
    ("group.id", "use kafka.group_id"),
    ("session.timeout.ms", "use kafka.session_timeout"),
    ("transaction.timeout.ms", "use kafka.transaction_timeout"),
    ("security.protocol", SECURITY),
    ("ssl.ca.location", SECURITY),
    ("ssl.certificate.location", SECURITY),
    ("ssl.key.location", SECURITY),
    ("ssl.endpoint.identification.algorithm", SECURITY),
    (
        "enable.ssl.certificate.verification",
        "a broker that is not verified may be anybody",
    ),
    ("sasl.mechanism", SECURITY),
    ("sasl.mechanisms", SECURITY),
    ("sasl.username", SECURITY),
    ("sasl.password", SECRET),
    ("ssl.key.password", SECRET),
    ("ssl.key.pem", SECRET),
    ("ssl.keystore.password", SECRET),
    ("sasl.oauthbearer.client.secret", SECRET),
    // Broker errors and statistics are taken from librdkafka by our own code.
    (
        "statistics.interval.ms",
        "consumer lag is taken from the statistics",
    ),
    ("log.queue", HOOKS),
    ("opaque", HOOKS),
    ("plugin.library.paths", HOOKS),
    ("interceptors", HOOKS),
    (
        "test.mock.num.brokers",
        "it would put brokers of its own in the place of yours",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_break_the_promise_is_refused_with_a_reason() {
        for property in [
            "enable.auto.commit",
            "isolation.level",
            "transactional.id",
            "partitioner",
            "partition.assignment.strategy",
            "group.instance.id",
            "enable.idempotence",
            "auto.offset.reset",
        ] {
            assert!(
                refusal(property).is_some_and(|reason| !reason.is_empty()),
                "{property}"
            );
        }
    }

    #[test]
    fn no_secret_can_be_given_as_a_property() {
        for property in [
            "sasl.password",
            "ssl.keystore.password",
            "sasl.oauthbearer.config",
            "sasl.oauthbearer.assertion.private.key.passphrase",
            "sasl.oauthbearer.assertion.private.key.pem",
        ] {
            assert_eq!(refusal(property), Some(SECRET), "{property}");
        }
    }

    #[test]
    fn tuning_is_left_to_the_user() {
        for property in [
            "fetch.wait.max.ms",
            "linger.ms",
            "compression.type",
            "client.rack",
            "debug",
        ] {
            assert_eq!(refusal(property), None, "{property}");
        }
    }

    #[test]
    fn no_property_is_refused_twice() {
        let mut names: Vec<_> = REFUSED.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
