//! The properties of each client, and why.

use std::time::SystemTime;

use churnwatch_faults::{Defence, holds};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

use crate::settings::{ClientKind, KafkaSettings, Problem, Secret, SecretError};

/// Largest record that we write: a record of the log that could not be used
/// (1 MiB on the log) goes to the dead letters with its headers, so this leaves room.
pub(crate) const MAX_MESSAGE_BYTES: usize = 2 * 1024 * 1024;

/// What a fetched record takes beside its own bytes.
const RECORD_OVERHEAD: usize = 320;

/// Bounds of what one answer to a fetch brings, over all partitions. librdkafka
/// takes no less than its own `message.max.bytes`, a million, and no more than
/// 50 MiB by default.
const LEAST_ANSWER_BYTES: usize = 1 << 20;
const MOST_ANSWER_BYTES: usize = 50 << 20;

/// Why a client could not be made. All of them need a person.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A setting is wrong.
    #[error("{0}")]
    Setting(Problem),
    /// A secret file cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// librdkafka does not take a property.
    #[error("kafka property {property}: {reason}")]
    Property {
        /// Its name.
        property: String,
        /// librdkafka's words.
        reason: String,
    },
    /// librdkafka could not make the client.
    #[error("cannot make a kafka client: {0}")]
    Create(String),
}

impl From<KafkaError> for ClientError {
    fn from(error: KafkaError) -> Self {
        match error {
            // The value is left out: it may be a secret.
            KafkaError::ClientConfig(_, reason, property, _) => Self::Property { property, reason },
            other => Self::Create(other.to_string()),
        }
    }
}

/// How the group shares the log out. All members must have the same.
const ASSIGNOR: &str = "cooperative-sticky";

/// The role of a worker's consumer of the log, up to the worker's number.
pub(crate) const SOURCE_ROLE: &str = "source-";

/// The client id of one of our clients.
pub(crate) fn client_id(settings: &KafkaSettings, role: &str) -> String {
    format!("churnwatch-{}-{role}", settings.instance())
}

/// The group's consumer of the log. Its position always comes from us.
pub(crate) fn group_consumer_config(
    settings: &KafkaSettings,
    worker: usize,
) -> Result<ClientConfig, ClientError> {
    let session_ms = settings.session_timeout.as_millis();
    let mut config = consumer_config(settings, &format!("{SOURCE_ROLE}{worker}"))?;
    if settings.static_membership {
        config.set("group.instance.id", settings.member_name(worker));
    }
    if !holds(Defence::StableOffsets) {
        // librdkafka asks for stable offsets where it reads committed records only.
        config.set("isolation.level", "read_uncommitted");
    }
    set(
        &mut config,
        &[
            ("partition.assignment.strategy", ASSIGNOR),
            ("session.timeout.ms", &session_ms.to_string()),
            // Several heartbeats fit into a session, so that one may be lost.
            (
                "heartbeat.interval.ms",
                &(session_ms / 10).clamp(100, 3_000).to_string(),
            ),
            // The ends of the partitions, for the lag and for what holds the log back, are taken
            // from the statistics: librdkafka knows them of what it fetches.
            ("statistics.interval.ms", "2000"),
        ],
    );
    Ok(config)
}

/// A member of the group for a moment: without a name, so that it leaves for
/// good.
pub(crate) fn passing_member_config(settings: &KafkaSettings) -> Result<ClientConfig, ClientError> {
    let mut config = consumer_config(settings, "passing")?;
    set(
        &mut config,
        &[
            ("partition.assignment.strategy", ASSIGNOR),
            (
                "session.timeout.ms",
                &settings.session_timeout.as_millis().to_string(),
            ),
        ],
    );
    Ok(config)
}

/// The consumer that reads the changelog back. It is in no group: a group id
/// is needed by librdkafka to assign by hand, and the group's own asks for no
/// further permission; nothing is joined and nothing committed by it.
pub(crate) fn changelog_consumer_config(
    settings: &KafkaSettings,
    worker: usize,
) -> Result<ClientConfig, ClientError> {
    let mut config = consumer_config(settings, &format!("changelog-{worker}"))?;
    // The end is where the broker says so: transaction markers take offsets, so that the last
    // record's offset plus one is not the end.
    set(&mut config, &[("enable.partition.eof", "true")]);
    if !holds(Defence::CommittedChangelog) {
        config.set("isolation.level", "read_uncommitted");
    }
    Ok(config)
}

/// The client that asks for the end of the changelog, uncommitted records
/// included; it reads none.
pub(crate) fn bounds_consumer_config(
    settings: &KafkaSettings,
    worker: usize,
) -> Result<ClientConfig, ClientError> {
    let mut config = consumer_config(settings, &format!("bounds-{worker}"))?;
    set(&mut config, &[("isolation.level", "read_uncommitted")]);
    Ok(config)
}

fn consumer_config(settings: &KafkaSettings, role: &str) -> Result<ClientConfig, ClientError> {
    // A record costs librdkafka about 300 bytes beside its own, which its bound on bytes does not
    // count and the one on records has to. Half the memory is for each. What one answer brings is
    // compressed, comes on top, and is kept small.
    let fetched = settings.queues.fetched_bytes;
    let kbytes = (fetched / 2 / 1024).to_string();
    let records = (fetched / 2 / RECORD_OVERHEAD)
        .clamp(1_000, 100_000)
        .to_string();
    let answer = (fetched / 8)
        .clamp(LEAST_ANSWER_BYTES, MOST_ANSWER_BYTES)
        .to_string();
    let silence_ms = settings.session_timeout.as_millis().to_string();
    let tuned = &[
        // A broker that is silent for as long as would get us thrown out of the group is not there;
        // the default, a minute, is a long time to look fine in.
        ("socket.timeout.ms", silence_ms.as_str()),
        // Records are answered at once (`fetch.min.bytes` 1); the wait bounds how long a resumed
        // partition stays out of the fetch that is under way.
        ("fetch.wait.max.ms", "50"),
        // How long a partition is left alone after the local queue was full. The default, 1 s,
        // shows as latency after every burst.
        ("fetch.queue.backoff.ms", "20"),
        ("queued.max.messages.kbytes", &*kbytes),
        ("queued.min.messages", &*records),
        ("fetch.max.bytes", &*answer),
    ];
    let mut config = base(settings, ClientKind::Consumer, role, tuned)?;
    set(
        &mut config,
        &[
            ("group.id", &settings.group_id),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("isolation.level", "read_committed"),
            ("allow.auto.create.topics", "false"),
        ],
    );
    Ok(config)
}

/// The producer of transactions.
pub(crate) fn transactional_producer_config(
    settings: &KafkaSettings,
    worker: usize,
) -> Result<ClientConfig, ClientError> {
    let mut config = producer_config(settings, &format!("sink-{worker}"))?;
    let mut id = settings.transactional_id(worker);
    if !holds(Defence::Fencing) {
        // As if each producer were somebody new.
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let nanos = since_epoch.map_or(0, |since_epoch| since_epoch.as_nanos());
        id = format!("{id}-{}-{nanos}", std::process::id());
    }
    set(
        &mut config,
        &[
            ("transactional.id", &id),
            (
                "transaction.timeout.ms",
                &settings.transaction_timeout.as_millis().to_string(),
            ),
            // By its log it is known that a connection broke: see `Deliveries`.
            ("log.connection.close", "true"),
        ],
    );
    Ok(config)
}

/// The producer of clock records.
pub(crate) fn clock_producer_config(
    settings: &KafkaSettings,
    worker: usize,
) -> Result<ClientConfig, ClientError> {
    producer_config(settings, &format!("clock-{worker}"))
}

/// A plain producer of canonical events.
pub(crate) fn event_producer_config(settings: &KafkaSettings) -> Result<ClientConfig, ClientError> {
    let mut config = producer_config(settings, "events")?;
    // Generators write in bulk: let batches fill.
    set(&mut config, &[("linger.ms", "5")]);
    Ok(config)
}

fn producer_config(settings: &KafkaSettings, role: &str) -> Result<ClientConfig, ClientError> {
    let unsent = (settings.queues.unsent_bytes / 1024).to_string();
    let tuned = &[
        // An epoch is handed over in one go and waited for: there is nothing to linger for.
        ("linger.ms", "1"),
        ("compression.type", "lz4"),
        // Memory for records not yet sent; who hands over more waits.
        ("queue.buffering.max.kbytes", &*unsent),
    ];
    let mut config = base(settings, ClientKind::Producer, role, tuned)?;
    set(
        &mut config,
        &[
            // What Java's default partitioner does; librdkafka's own default does not match it.
            ("partitioner", "murmur2_random"),
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("message.max.bytes", &MAX_MESSAGE_BYTES.to_string()),
        ],
    );
    Ok(config)
}

/// The client that looks topics up and makes them.
pub(crate) fn admin_config(settings: &KafkaSettings) -> Result<ClientConfig, ClientError> {
    base(settings, ClientKind::Admin, "admin", &[])
}

/// What all clients share: where the brokers are, who we are, what the user
/// passes through. `tuned` may be overridden by the user.
fn base(
    settings: &KafkaSettings,
    kind: ClientKind,
    role: &str,
    tuned: &[(&str, &str)],
) -> Result<ClientConfig, ClientError> {
    if let Some(problem) = settings.validate().into_iter().next() {
        return Err(ClientError::Setting(problem));
    }
    let mut config = ClientConfig::new();
    set(&mut config, tuned);
    let passed_through = match kind {
        ClientKind::Consumer => Some(&settings.consumer_properties),
        ClientKind::Producer => Some(&settings.producer_properties),
        ClientKind::Admin => None,
    };
    for (name, value) in settings
        .properties
        .iter()
        .chain(passed_through.into_iter().flatten())
    {
        config.set(name, value);
    }
    set(
        &mut config,
        &[
            ("bootstrap.servers", &settings.bootstrap_servers),
            ("client.id", &client_id(settings, role)),
            ("security.protocol", settings.security.protocol.as_str()),
        ],
    );
    secure(&mut config, settings)?;
    config.set_log_level(RDKafkaLogLevel::Info);
    if settings.properties.contains_key("debug") {
        config.set_log_level(RDKafkaLogLevel::Debug);
    }
    Ok(config)
}

fn secure(config: &mut ClientConfig, settings: &KafkaSettings) -> Result<(), ClientError> {
    let security = &settings.security;
    if let Some(tls) = &security.tls {
        let files = [
            ("ssl.ca.location", &tls.ca_file),
            ("ssl.certificate.location", &tls.certificate_file),
            ("ssl.key.location", &tls.key_file),
        ];
        for (property, file) in files {
            if let Some(path) = file {
                config.set(property, path.to_string_lossy());
            }
        }
        if let Some(path) = &tls.key_password_file {
            let password = Secret::read("kafka.security.tls.key_password_file", path)?;
            config.set("ssl.key.password", password.expose());
        }
        let verified = if tls.verify_hostname { "https" } else { "none" };
        config.set("ssl.endpoint.identification.algorithm", verified);
    }
    if let Some(sasl) = &security.sasl {
        let password = Secret::read("kafka.security.sasl.password_file", &sasl.password_file)?;
        config.set("sasl.mechanism", sasl.mechanism.as_str());
        config.set("sasl.username", &sasl.username);
        config.set("sasl.password", password.expose());
    }
    Ok(())
}

fn set(config: &mut ClientConfig, properties: &[(&str, &str)]) {
    for (name, value) in properties {
        config.set(*name, *value);
    }
}

impl KafkaSettings {
    /// Whether librdkafka takes every property, passed through or our own, of
    /// every client; reads the secret files. Connects to nothing.
    ///
    /// # Errors
    /// The first setting, secret file or property that cannot be used.
    pub fn check_clients(&self) -> Result<(), ClientError> {
        let configs = [
            group_consumer_config(self, 0)?,
            changelog_consumer_config(self, 0)?,
            transactional_producer_config(self, 0)?,
            event_producer_config(self)?,
            admin_config(self)?,
        ];
        for config in configs {
            config.create_native_config()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Protocol, Queues, Sasl, SaslMechanism, Security, Tls};

    fn settings() -> KafkaSettings {
        KafkaSettings {
            instance_id: Some("a".into()),
            ..KafkaSettings::default()
        }
    }

    #[test]
    fn librdkafka_takes_what_we_set() {
        settings().check_clients().unwrap();
    }

    #[test]
    fn queues_follow_the_memory_they_are_given() {
        for mib in [6, 32, 1024] {
            let mut settings = settings();
            settings.queues = Queues {
                fetched_bytes: mib << 20,
                unsent_bytes: mib << 20,
            };
            settings.check_clients().unwrap();
            let config = group_consumer_config(&settings, 0).unwrap();
            let number = |name| config.get(name).unwrap().parse::<usize>().unwrap();
            let bytes = number("queued.max.messages.kbytes") * 1024;
            let overhead = number("queued.min.messages") * RECORD_OVERHEAD;
            assert!(bytes + overhead <= mib << 20, "{mib} MiB");
            let config = transactional_producer_config(&settings, 0).unwrap();
            let unsent = (mib * 1024).to_string();
            assert_eq!(config.get("queue.buffering.max.kbytes"), Some(&*unsent));
        }
    }

    #[test]
    fn nobody_can_read_uncommitted_or_commit_by_itself() {
        let configs = [
            group_consumer_config(&settings(), 0).unwrap(),
            changelog_consumer_config(&settings(), 0).unwrap(),
        ];
        for config in configs {
            assert_eq!(config.get("isolation.level"), Some("read_committed"));
            assert_eq!(config.get("enable.auto.commit"), Some("false"));
            assert_eq!(config.get("enable.auto.offset.store"), Some("false"));
            assert_eq!(config.get("auto.offset.reset"), Some("error"));
        }
    }

    #[test]
    fn every_producer_partitions_as_java_does_and_is_idempotent() {
        let configs = [
            transactional_producer_config(&settings(), 0).unwrap(),
            clock_producer_config(&settings(), 0).unwrap(),
            event_producer_config(&settings()).unwrap(),
        ];
        for config in configs {
            assert_eq!(config.get("partitioner"), Some("murmur2_random"));
            assert_eq!(config.get("enable.idempotence"), Some("true"));
        }
    }

    #[test]
    fn only_the_transactional_producer_has_a_transactional_id() {
        let transactional = transactional_producer_config(&settings(), 3).unwrap();
        assert_eq!(
            transactional.get("transactional.id"),
            Some("churnwatch-a-3")
        );
        assert_eq!(transactional.get("transaction.timeout.ms"), Some("15000"));
        assert_eq!(
            clock_producer_config(&settings(), 3)
                .unwrap()
                .get("transactional.id"),
            None
        );
    }

    #[test]
    fn the_changelog_consumer_is_no_member() {
        let config = changelog_consumer_config(&settings(), 0).unwrap();
        assert_eq!(config.get("group.instance.id"), None);
        assert_eq!(
            group_consumer_config(&settings(), 0)
                .unwrap()
                .get("group.instance.id"),
            Some("a-0")
        );
    }

    #[test]
    fn without_static_membership_no_member_has_a_name() {
        let mut settings = settings();
        settings.static_membership = false;
        let group = group_consumer_config(&settings, 0).unwrap();
        assert_eq!(group.get("group.instance.id"), None);
        // Its producer is the same one after a restart all the same.
        let transactional = transactional_producer_config(&settings, 0).unwrap();
        assert_eq!(
            transactional.get("transactional.id"),
            Some("churnwatch-a-0")
        );
    }

    #[test]
    fn specific_properties_win_over_general_ones_and_over_our_tuning() {
        let mut settings = settings();
        settings.properties.insert("linger.ms".into(), "7".into());
        assert_eq!(
            transactional_producer_config(&settings, 0)
                .unwrap()
                .get("linger.ms"),
            Some("7")
        );
        settings
            .producer_properties
            .insert("linger.ms".into(), "9".into());
        assert_eq!(
            transactional_producer_config(&settings, 0)
                .unwrap()
                .get("linger.ms"),
            Some("9")
        );
    }

    #[test]
    fn a_property_unknown_to_librdkafka_is_named() {
        let mut settings = settings();
        settings
            .consumer_properties
            .insert("fetch.wiat.max.ms".into(), "5".into());
        let error = settings.check_clients().unwrap_err().to_string();
        assert!(
            error.starts_with("kafka property fetch.wiat.max.ms: "),
            "{error}"
        );
    }

    #[test]
    fn a_refused_property_makes_no_client() {
        let mut settings = settings();
        settings
            .properties
            .insert("enable.auto.commit".into(), "true".into());
        let error = settings.check_clients().unwrap_err().to_string();
        assert!(
            error.starts_with("kafka.properties.enable.auto.commit: cannot be set"),
            "{error}"
        );
    }

    #[test]
    fn passwords_come_from_their_files_and_are_not_in_the_settings() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        let mut settings = settings();
        settings.security = Security {
            protocol: Protocol::SaslSsl,
            tls: Some(Tls {
                verify_hostname: false,
                ..Tls::default()
            }),
            sasl: Some(Sasl {
                mechanism: SaslMechanism::ScramSha256,
                username: "churnwatch".into(),
                password_file: path.clone(),
            }),
        };
        let missing = admin_config(&settings).unwrap_err().to_string();
        assert!(
            missing.starts_with("kafka.security.sasl.password_file: the file does not exist"),
            "{missing}"
        );
        std::fs::write(&path, "hunter2\n").unwrap();
        let config = admin_config(&settings).unwrap();
        assert_eq!(config.get("sasl.password"), Some("hunter2"));
        assert_eq!(config.get("sasl.mechanism"), Some("SCRAM-SHA-256"));
        assert_eq!(
            config.get("ssl.endpoint.identification.algorithm"),
            Some("none")
        );
        assert!(!format!("{settings:?}").contains("hunter2"));
        settings.check_clients().unwrap();
    }
}
