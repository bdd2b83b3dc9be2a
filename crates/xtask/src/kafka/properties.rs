//! The broker's settings: one table for a process and for a container.
//!
//! Every connection is plain text on the loopback address. Another listener
//! (TLS, SASL, or one behind a proxy) is one more [`Listener`], with its own
//! settings beside it: see [`private`](super::private).

/// A place where the broker accepts connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listener {
    /// Its name in the settings.
    pub(super) name: String,
    /// Its security protocol: `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`.
    pub(super) protocol: String,
    /// Where it binds: `HOST:PORT`.
    pub(super) bind: String,
    /// Where clients are told to find it.
    pub(super) advertised: String,
}

impl Listener {
    /// A listener for plain text, named after its protocol, that clients find
    /// at `advertised`.
    pub(super) fn plain(bind: impl Into<String>, advertised: impl Into<String>) -> Self {
        Self {
            name: PLAINTEXT.to_owned(),
            protocol: PLAINTEXT.to_owned(),
            bind: bind.into(),
            advertised: advertised.into(),
        }
    }
}

/// The protocol of the listener that every broker has, and its name.
pub(super) const PLAINTEXT: &str = "PLAINTEXT";

/// The settings of a broker that is also its own controller. `controller` is
/// the `HOST:PORT` of the controller's own listener.
pub(super) fn single_node(clients: &[Listener], controller: &str) -> Vec<(&'static str, String)> {
    let bound = clients
        .iter()
        .map(|listener| format!("{}://{}", listener.name, listener.bind));
    let advertised = clients
        .iter()
        .map(|listener| format!("{}://{}", listener.name, listener.advertised));
    let protocols = clients
        .iter()
        .map(|listener| format!("{}:{}", listener.name, listener.protocol));
    let mut properties = vec![
        ("process.roles", "broker,controller".to_owned()),
        ("node.id", "1".to_owned()),
        ("controller.quorum.voters", format!("1@{controller}")),
        ("controller.listener.names", "CONTROLLER".to_owned()),
        (
            "listeners",
            joined(bound.chain([format!("CONTROLLER://{controller}")])),
        ),
        ("advertised.listeners", joined(advertised)),
        (
            "listener.security.protocol.map",
            joined(protocols.chain(["CONTROLLER:PLAINTEXT".to_owned()])),
        ),
        (
            "inter.broker.listener.name",
            clients
                .first()
                .map_or(PLAINTEXT, |listener| &listener.name)
                .to_owned(),
        ),
    ];
    properties.extend(
        FIXED
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned())),
    );
    properties
}

const FIXED: &[(&str, &str)] = &[
    // A topic that a test forgot to create is a fault of the test.
    ("auto.create.topics.enable", "false"),
    // One broker can hold one replica, and few partitions make a quick start.
    ("default.replication.factor", "1"),
    ("offsets.topic.replication.factor", "1"),
    ("offsets.topic.num.partitions", "8"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("transaction.state.log.num.partitions", "8"),
    ("share.coordinator.state.topic.replication.factor", "1"),
    ("share.coordinator.state.topic.min.isr", "1"),
    ("share.coordinator.state.topic.num.partitions", "1"),
    // Tests do not wait for members that may yet join a group, may let a
    // killed member's session run out quickly, and see the transaction of a
    // killed producer aborted soon after its time-out.
    ("group.initial.rebalance.delay.ms", "0"),
    ("group.min.session.timeout.ms", "1000"),
    (
        "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        "500",
    ),
    // Events of years ago are written with their own time; nothing is to be
    // deleted by age unless a topic says so.
    ("log.retention.ms", "-1"),
    // Small footprint: many topics of few records each.
    ("log.index.size.max.bytes", "1048576"),
    ("log.cleaner.dedupe.buffer.size", "8388608"),
    ("num.network.threads", "2"),
    ("num.io.threads", "4"),
];

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listener_is_bound_advertised_and_given_its_protocol() {
        let clients = [
            Listener::plain("127.0.0.1:1", "127.0.0.1:1"),
            Listener {
                name: "OUTSIDE".into(),
                protocol: "SSL".into(),
                bind: "127.0.0.1:2".into(),
                advertised: "localhost:2".into(),
            },
        ];
        let properties = single_node(&clients, "127.0.0.1:3");
        let value = |wanted: &str| {
            properties
                .iter()
                .find(|(name, _)| *name == wanted)
                .map(|(_, value)| value.as_str())
        };
        assert_eq!(
            value("listeners"),
            Some("PLAINTEXT://127.0.0.1:1,OUTSIDE://127.0.0.1:2,CONTROLLER://127.0.0.1:3")
        );
        assert_eq!(
            value("advertised.listeners"),
            Some("PLAINTEXT://127.0.0.1:1,OUTSIDE://localhost:2")
        );
        assert_eq!(
            value("listener.security.protocol.map"),
            Some("PLAINTEXT:PLAINTEXT,OUTSIDE:SSL,CONTROLLER:PLAINTEXT")
        );
    }

    #[test]
    fn no_setting_is_given_twice() {
        let mut names: Vec<_> = single_node(&[], "h:1")
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
