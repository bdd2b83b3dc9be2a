//! The little that we read of librdkafka's statistics.

use std::collections::BTreeMap;

use churnwatch_pipeline::source::PartitionId;
use serde::Deserialize;

/// What a report of librdkafka says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Whether a broker is connected.
    pub(crate) connected: bool,
    /// The ends of each partition that is fetched.
    pub(crate) ends: BTreeMap<PartitionId, Ends>,
}

/// Where a partition ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    /// The last stable offset: where a reader of committed records is stopped.
    pub(crate) stable: i64,
    /// The next offset to be written.
    pub(crate) high: i64,
}

/// Reads a report; `topic` is the topic of interest.
pub(crate) fn parse(json: &[u8], topic: &str) -> Result<Seen, serde_json::Error> {
    let report: Report = serde_json::from_slice(json)?;
    let partitions = report
        .topics
        .get(topic)
        .map(|topic| topic.partitions.values());
    let ends = partitions
        .into_iter()
        .flatten()
        // Partition -1 is librdkafka's own; a negative offset is "not known".
        .filter(|partition| partition.partition >= 0 && partition.ls_offset >= 0)
        .map(|partition| {
            let stable = partition.ls_offset;
            let high = partition.hi_offset.max(stable);
            (PartitionId(partition.partition), Ends { stable, high })
        })
        .collect();
    let connected = report.brokers.values().any(|broker| broker.state == "UP");
    Ok(Seen { connected, ends })
}

#[derive(Deserialize)]
struct Report {
    #[serde(default)]
    brokers: BTreeMap<String, Broker>,
    #[serde(default)]
    topics: BTreeMap<String, Topic>,
}

#[derive(Deserialize)]
struct Broker {
    state: String,
}

#[derive(Deserialize)]
struct Topic {
    #[serde(default)]
    partitions: BTreeMap<String, Partition>,
}

#[derive(Deserialize)]
struct Partition {
    partition: i32,
    ls_offset: i64,
    #[serde(default)]
    hi_offset: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_each_fetched_partition_is_read() {
        let json = br#"{
            "name": "x", "brokers": {"b:1/1": {"state": "UP", "nodeid": 1}},
            "topics": {
                "events": {"partitions": {
                    "0": {"partition": 0, "ls_offset": 17, "hi_offset": 20},
                    "1": {"partition": 1, "ls_offset": -1001, "hi_offset": -1001},
                    "-1": {"partition": -1, "ls_offset": 5}
                }},
                "other": {"partitions": {"0": {"partition": 0, "ls_offset": 99}}}
            }
        }"#;
        let seen = parse(json, "events").unwrap();
        assert_eq!(
            seen,
            Seen {
                connected: true,
                ends: [(
                    PartitionId(0),
                    Ends {
                        stable: 17,
                        high: 20
                    }
                )]
                .into()
            }
        );
    }

    #[test]
    fn no_broker_up_is_not_connected() {
        let seen = parse(
            br#"{"brokers": {"b:1/1": {"state": "TRY_CONNECT"}}}"#,
            "events",
        )
        .unwrap();
        assert_eq!(
            seen,
            Seen {
                connected: false,
                ends: BTreeMap::new()
            }
        );
    }
}
