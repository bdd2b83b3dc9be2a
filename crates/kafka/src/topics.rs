//! The topics: what they should be, making them, and checking what is there.
//!
//! ```text
//! spec ──> what each topic is for, and the settings that follow from it
//! create ─> makes what is missing, reports what differs, changes nothing
//! check ──> what would break (errors), what may hurt later (warnings)
//! ```

mod check;
mod cluster;
mod spec;

use std::fmt;
use std::time::{Duration, Instant};

use crate::settings::KafkaSettings;

pub use check::{Report, check};
pub use cluster::TopicsError;
pub use spec::{TopicRole, TopicSpec, specs};

use cluster::{Cluster, Found};

/// The command that makes the topics.
const CREATE_COMMAND: &str = "churnwatch topics create";

/// How long a topic may take to become visible on the broker we talk to.
const VISIBLE_TIME: Duration = Duration::from_secs(10);

/// What became of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicReport {
    /// Its full name.
    pub topic: String,
    /// What was done, or would be.
    pub outcome: Outcome,
}

/// What was done about a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was not there and was made.
    Created,
    /// It is not there and would be made (dry run).
    WouldCreate,
    /// It is there, as it should be.
    Exists,
    /// It is there with other settings. They are left alone: somebody may have
    /// chosen them.
    Differs(Vec<Difference>),
}

/// A setting of a topic that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// `partitions`, `replication`, or Kafka's name for the setting.
    pub setting: String,
    /// What it should be.
    pub wanted: String,
    /// What it is.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is {} and should be {}",
            self.setting, self.found, self.wanted
        )
    }
}

/// Makes the topics that are missing, `partitions` for the log and for what
/// goes with it, each on `replication` brokers. A `dry_run` asks the broker
/// whether it would, and makes nothing.
///
/// # Errors
/// When no broker answers, or one refuses to make a topic; the topics before
/// it are made then.
pub fn create(
    settings: &KafkaSettings,
    partitions: i32,
    replication: i32,
    dry_run: bool,
) -> Result<Vec<TopicReport>, TopicsError> {
    let cluster = Cluster::connect(settings)?;
    let specs = specs(&settings.topics, partitions, replication);
    let found = cluster.describe(specs.iter().map(|spec| spec.name.as_str()))?;
    let mut reports = Vec::with_capacity(specs.len());
    for spec in &specs {
        let outcome = match found.get(&spec.name) {
            Some(found) => compare(spec, found),
            None => {
                cluster.create(spec, dry_run)?;
                if dry_run {
                    Outcome::WouldCreate
                } else {
                    Outcome::Created
                }
            }
        };
        reports.push(TopicReport {
            topic: spec.name.clone(),
            outcome,
        });
    }
    if !dry_run {
        await_visible(&cluster, &specs)?;
    }
    Ok(reports)
}

/// The controller has the topics; a broker may hear of them a moment later, and
/// whoever asks it then, such as `churnwatch run`, would not find them.
fn await_visible(cluster: &Cluster, specs: &[TopicSpec]) -> Result<(), TopicsError> {
    let until = Instant::now() + VISIBLE_TIME;
    while Instant::now() < until {
        let found = cluster.describe(specs.iter().map(|spec| spec.name.as_str()))?;
        if specs.iter().all(|spec| found.contains_key(&spec.name)) {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn compare(spec: &TopicSpec, found: &Found) -> Outcome {
    let mut differences = Vec::new();
    let mut differ = |setting: &str, wanted: String, found: String| {
        if wanted != found {
            differences.push(Difference {
                setting: setting.to_owned(),
                wanted,
                found,
            });
        }
    };
    differ(
        "partitions",
        spec.partitions.to_string(),
        found.partitions.to_string(),
    );
    differ(
        "replication",
        spec.replication.to_string(),
        found.replication.to_string(),
    );
    for (setting, wanted) in &spec.config {
        let found = found
            .config
            .get(*setting)
            .map_or("not known to the broker", String::as_str);
        differ(setting, wanted.clone(), found.to_owned());
    }
    if differences.is_empty() {
        Outcome::Exists
    } else {
        Outcome::Differs(differences)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Topics;

    #[test]
    fn a_topic_as_specified_does_not_differ() {
        for spec in specs(&Topics::default(), 12, 3) {
            assert_eq!(
                compare(&spec, &Found::like(&spec)),
                Outcome::Exists,
                "{}",
                spec.name
            );
        }
    }

    #[test]
    fn every_difference_is_named_with_both_values() {
        let spec = &specs(&Topics::default(), 12, 3)[0];
        let mut found = Found::like(spec);
        found.partitions = 6;
        found
            .config
            .insert("message.timestamp.type".into(), "CreateTime".into());
        let Outcome::Differs(differences) = compare(spec, &found) else {
            panic!("it differs")
        };
        let texts: Vec<_> = differences.iter().map(Difference::to_string).collect();
        assert_eq!(
            texts,
            [
                "partitions is 6 and should be 12",
                "message.timestamp.type is CreateTime and should be LogAppendTime"
            ]
        );
    }
}
