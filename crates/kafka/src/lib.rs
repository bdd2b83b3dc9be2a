//! Kafka, behind the traits of the pipeline: `Source`, `Sink` and `Changelog` on
//! librdkafka, and the set-up of topics.
//!
//! ```text
//!              KafkaSettings ── validate, check_clients
//!                    │
//!   churn.events.v1 ─┴─> KafkaSource ── Membership ──> KafkaSink ──> alerts, current, dead letters,
//!                        (group, rebalance)            (transaction)  changelog and offsets, at once
//!   churnwatch.state ──> KafkaChangelog
//!
//!   topics::create, topics::check          EventProducer (generators)      operator (commands)
//! ```
//!
//! One worker is one [`KafkaSource`], one [`KafkaSink`] made from its
//! [`Membership`], and one [`KafkaChangelog`], all used by one thread. What the
//! three promise each other:
//!
//! - The **source** never chooses a position and delivers nothing of a
//!   partition before it is resumed; offsets never go back (`source.rs`).
//! - The **membership** lets a batch be committed only in the stay of its
//!   partitions in which it was read (`group.rs`, `ownership.rs`).
//! - The **sink** writes everything of an epoch in one transaction, and says
//!   exactly whether it is committed, not committed, or unknown (`sink.rs`).
//! - Beside each offset stands the place in the changelog that belongs to it
//!   (`position.rs`).
//!
//! A [`GroupWatch`], one a process, sees to it that no partition is left without
//! an owner (`orphans.rs`).
//!
//! Nothing here is async: each worker is a thread of its own, and the calls of
//! librdkafka that may block for longer than they say are made on another
//! (`transaction.rs`).

mod changelog;
mod client;
mod clock;
mod duration;
mod group;
mod held_back;
mod native;
pub mod operator;
mod orphans;
mod outgoing;
mod position;
mod producer;
pub mod settings;
mod sink;
mod source;
mod statistics;
pub mod topics;
mod transaction;

pub use changelog::KafkaChangelog;
pub use client::{ClientError, Reporting};
pub use duration::{Span, SpanError};
pub use group::Membership;
pub use orphans::{GroupWatch, WatchError};
pub use position::{MetadataError, format as format_position, parse as parse_position};
pub use producer::{EventProducer, ProduceError};
pub use settings::{KafkaSettings, Queues};
pub use sink::KafkaSink;
pub use source::KafkaSource;
