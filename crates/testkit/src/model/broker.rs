//! The broker: topics, the group's offsets, and the coordinator of
//! transactions.
//!
//! ```text
//! init ──> produce.. ──> offsets ──> end ──> markers, one topic after the other
//!   │                                  └ a request may be late: it counts if the
//!   │                                    producer's epoch is still the same
//!   └ fences the former producer of this name, and ends its transaction
//! ```
//!
//! As Apache Kafka before KIP-890: an epoch belongs to a producer, not to each
//! of its transactions. So a late request to end one transaction may end the
//! next one of the same producer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use churnwatch_pipeline::Committed;

use super::{
    group::{Group, MemberId},
    random::Random,
    topic::{Row, Topic, Txn},
};
use crate::world::{Letter, World};

/// A producer as it stands in requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProducerId {
    pub(super) name: String,
    pub(super) epoch: u32,
}

/// A record on its way.
#[derive(Debug, Clone)]
pub(super) enum Outgoing {
    /// Account and body.
    Alert(String, String),
    /// Key, and the body while it is open.
    Current(String, Option<String>),
    /// Place and letter.
    Letter((i32, i64), Letter),
    /// Partition and row.
    Row(i32, Row),
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Another producer has this name.
    Fenced,
    /// No member of the present generation.
    IllegalGeneration,
    /// No transaction is open.
    NoTransaction,
    /// A transaction hangs on the offset.
    Unstable,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fenced => "another producer has this name",
            Self::IllegalGeneration => "no member of the present generation",
            Self::NoTransaction => "no transaction is open",
            Self::Unstable => "a transaction hangs on the offset",
        })
    }
}

/// Where a transaction has written; each takes a marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Alerts,
    Current,
    Letters,
    Changelog(i32),
    Offsets,
}

#[derive(Debug, Clone, Default)]
struct Producer {
    epoch: u32,
    stage: Stage,
}

#[derive(Debug, Clone, Default)]
enum Stage {
    #[default]
    Idle,
    Open(Txn, BTreeSet<Place>),
    /// Decided; these places have no marker yet.
    Ending(Txn, bool, Vec<Place>),
}

/// Which offsets of a partition of the log can be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) first: i64,
    pub(super) end: i64,
}

/// How transactions ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) committed: u64,
    pub(super) aborted: u64,
    pub(super) late: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Broker {
    pub(super) log: Vec<Bounds>,
    pub(super) changelog: Vec<Topic<Row>>,
    alerts: Topic<(String, String)>,
    current: Topic<(String, Option<String>)>,
    letters: Topic<((i32, i64), Letter)>,
    pub(super) offsets: BTreeMap<i32, Committed>,
    pending: BTreeMap<Txn, Vec<(i32, Committed)>>,
    producers: BTreeMap<String, Producer>,
    last_txn: Txn,
    /// Requests to commit that are still under way, and for which transaction
    /// they were made.
    late: Vec<(ProducerId, Option<Txn>)>,
    pub(super) group: Group,
    /// Epoch and next offset of each partition as they were last committed,
    /// whatever became of the group's offsets.
    newest: BTreeMap<i32, (u64, i64)>,
    pub(super) ends: Ends,
    /// The first thing that nobody may do.
    pub(super) violation: Option<String>,
}

impl Broker {
    pub(super) fn new(log: Vec<Bounds>) -> Self {
        let partitions = log.len();
        Self {
            log,
            changelog: vec![Topic::default(); partitions],
            alerts: Topic::default(),
            current: Topic::default(),
            letters: Topic::default(),
            offsets: BTreeMap::new(),
            pending: BTreeMap::new(),
            producers: BTreeMap::new(),
            last_txn: 0,
            late: Vec::new(),
            group: Group::new(partitions.try_into().expect("few partitions")),
            newest: BTreeMap::new(),
            ends: Ends::default(),
            violation: None,
        }
    }

    /// A producer introduces itself.
    pub(super) fn init(&mut self, name: &str) -> ProducerId {
        self.end_now(name, false);
        let producer = self.producers.entry(name.to_owned()).or_default();
        producer.epoch += 1;
        ProducerId {
            name: name.to_owned(),
            epoch: producer.epoch,
        }
    }

    /// Whether the producer may still speak.
    pub(super) fn is_current(&self, id: &ProducerId) -> bool {
        let known = self.producers.get(&id.name);
        known.is_some_and(|producer| producer.epoch == id.epoch)
    }

    /// Gives the offset of the record, in the changelog.
    pub(super) fn produce(&mut self, id: &ProducerId, record: Outgoing) -> Result<i64, Refused> {
        let place = match &record {
            Outgoing::Alert(..) => Place::Alerts,
            Outgoing::Current(..) => Place::Current,
            Outgoing::Letter(..) => Place::Letters,
            Outgoing::Row(partition, _) => Place::Changelog(*partition),
        };
        let txn = self.join_transaction(id, place)?;
        Ok(match record {
            Outgoing::Alert(account, body) => self.alerts.append(txn, (account, body)),
            Outgoing::Current(key, body) => self.current.append(txn, (key, body)),
            Outgoing::Letter(place, letter) => self.letters.append(txn, (place, letter)),
            Outgoing::Row(partition, row) => self.topic(partition).append(txn, row),
        })
    }

    /// Offsets that are committed with the transaction.
    pub(super) fn send_offsets(
        &mut self,
        id: &ProducerId,
        member: (MemberId, u32),
        offsets: Vec<(i32, Committed)>,
    ) -> Result<(), Refused> {
        self.check_member(member)?;
        let txn = self.join_transaction(id, Place::Offsets)?;
        self.pending.entry(txn).or_default().extend(offsets);
        Ok(())
    }

    /// Offsets that are committed by themselves.
    pub(super) fn commit_offsets(
        &mut self,
        member: (MemberId, u32),
        offsets: Vec<(i32, Committed)>,
    ) -> Result<(), Refused> {
        self.check_member(member)?;
        self.take_offsets(offsets);
        Ok(())
    }

    /// Decides a transaction. The markers follow.
    pub(super) fn end(&mut self, id: &ProducerId, commit: bool) -> Result<(), Refused> {
        if !self.is_current(id) {
            return Err(Refused::Fenced);
        }
        let producer = self.producers.entry(id.name.clone()).or_default();
        match std::mem::take(&mut producer.stage) {
            Stage::Open(txn, places) => {
                producer.stage = Stage::Ending(txn, commit, places.into_iter().collect());
                if commit {
                    self.ends.committed += 1;
                } else {
                    self.ends.aborted += 1;
                }
                Ok(())
            }
            Stage::Ending(txn, decided, places) => {
                producer.stage = Stage::Ending(txn, decided, places);
                if decided == commit {
                    Ok(())
                } else {
                    Err(Refused::NoTransaction)
                }
            }
            Stage::Idle => Err(Refused::NoTransaction),
        }
    }

    /// The producer's last transaction has all its markers after this, as it
    /// must before the next one.
    pub(super) fn settle(&mut self, name: &str) {
        while self.write_marker(name, 0) {}
    }

    /// A request to commit is under way.
    pub(super) fn commit_late(&mut self, id: ProducerId) {
        let txn = self.open_transaction(&id.name);
        self.late.push((id, txn));
    }

    /// Such a request arrives, or is lost.
    pub(super) fn deliver_late(&mut self, random: &mut Random, arrives: bool) -> bool {
        if self.late.is_empty() {
            return false;
        }
        let (id, meant) = self.late.swap_remove(random.below(self.late.len()));
        let open = self.open_transaction(&id.name);
        if arrives && self.end(&id, true).is_ok() && open.is_some() {
            self.ends.late += 1;
            if open != meant {
                self.violate("a late request to commit ended the transaction after its own".into());
            }
        }
        true
    }

    /// One marker of one transaction becomes visible.
    pub(super) fn write_some_marker(&mut self, random: &mut Random) -> bool {
        let ending: Vec<String> = self
            .producers
            .iter()
            .filter(|(_, producer)| matches!(producer.stage, Stage::Ending(..)))
            .map(|(name, _)| name.clone())
            .collect();
        let at = random.below(ending.len());
        let which = random.below(8);
        ending.get(at).is_some_and(|name| {
            self.write_marker(name, which);
            true
        })
    }

    /// The time-out of one open transaction is over.
    pub(super) fn time_out(&mut self, random: &mut Random) -> bool {
        let open: Vec<String> = self
            .producers
            .iter()
            .filter(|(_, producer)| matches!(producer.stage, Stage::Open(..)))
            .map(|(name, _)| name.clone())
            .collect();
        let Some(name) = open.get(random.below(open.len())) else {
            return false;
        };
        let epoch = self.producers[name].epoch;
        let id = ProducerId {
            name: name.clone(),
            epoch,
        };
        let ended = self.end(&id, false);
        debug_assert!(ended.is_ok(), "it was open");
        if let Some(producer) = self.producers.get_mut(name) {
            producer.epoch += 1;
        }
        true
    }

    /// Whether no transaction is open or lacks markers, and nothing is late.
    pub(super) fn is_settled(&self) -> bool {
        let idle = |producer: &Producer| matches!(producer.stage, Stage::Idle);
        self.late.is_empty() && self.producers.values().all(idle)
    }

    /// The group's offset of a partition; `stable`: unless a transaction hangs
    /// on it.
    pub(super) fn committed(
        &self,
        partition: i32,
        stable: bool,
    ) -> Result<Option<Committed>, Refused> {
        let mut pending = self.pending.values().flatten();
        if stable && pending.any(|(of, _)| *of == partition) {
            return Err(Refused::Unstable);
        }
        Ok(self.offsets.get(&partition).cloned())
    }

    /// How far a partition was ever committed, whatever became of its offset.
    pub(super) fn reached(&self, partition: i32) -> i64 {
        self.newest.get(&partition).map_or(0, |(_, next)| *next)
    }

    /// How far all partitions have come, in epochs and offsets.
    pub(super) fn progress(&self) -> &BTreeMap<i32, (u64, i64)> {
        &self.newest
    }

    /// What readers of committed records find in all topics.
    pub(super) fn world(&self) -> World {
        let mut world = World::default();
        for (account, body) in self.alerts.committed() {
            world.take_alert(account, body);
        }
        for (key, body) in self.current.committed() {
            world.take_current(key, body.as_deref());
        }
        for (place, letter) in self.letters.committed() {
            let letters = world.dead_letters.entry(*place).or_default();
            letters.push(letter.clone());
        }
        for (partition, topic) in (0..).zip(&self.changelog) {
            for (key, value) in topic.committed() {
                world.take_row(partition, key.clone(), value.clone());
            }
        }
        world
    }

    fn check_member(&self, (member, generation): (MemberId, u32)) -> Result<(), Refused> {
        if self.group.has(member) && self.group.generation == generation {
            Ok(())
        } else {
            Err(Refused::IllegalGeneration)
        }
    }

    fn open_transaction(&self, name: &str) -> Option<Txn> {
        match self.producers.get(name)?.stage {
            Stage::Open(txn, _) => Some(txn),
            Stage::Idle | Stage::Ending(..) => None,
        }
    }

    fn topic(&mut self, partition: i32) -> &mut Topic<Row> {
        let at = usize::try_from(partition).expect("a partition is not negative");
        &mut self.changelog[at]
    }

    fn join_transaction(&mut self, id: &ProducerId, place: Place) -> Result<Txn, Refused> {
        if !self.is_current(id) {
            return Err(Refused::Fenced);
        }
        self.settle(&id.name);
        let producer = self.producers.entry(id.name.clone()).or_default();
        if let Stage::Idle = producer.stage {
            self.last_txn += 1;
            producer.stage = Stage::Open(self.last_txn, BTreeSet::new());
        }
        match &mut producer.stage {
            Stage::Open(txn, places) => {
                places.insert(place);
                Ok(*txn)
            }
            Stage::Idle | Stage::Ending(..) => Err(Refused::NoTransaction),
        }
    }

    /// Ends the open transaction of a producer, and writes all its markers.
    fn end_now(&mut self, name: &str, commit: bool) {
        if let Some(producer) = self.producers.get(name)
            && let Stage::Open(..) = producer.stage
        {
            let id = ProducerId {
                name: name.to_owned(),
                epoch: producer.epoch,
            };
            let ended = self.end(&id, commit);
            debug_assert!(ended.is_ok(), "it was open");
        }
        self.settle(name);
    }

    /// Writes the marker of the `which`-th place that has none.
    fn write_marker(&mut self, name: &str, which: usize) -> bool {
        let Some(producer) = self.producers.get_mut(name) else {
            return false;
        };
        let Stage::Ending(txn, commit, places) = &mut producer.stage else {
            return false;
        };
        let (txn, commit) = (*txn, *commit);
        let place = places.swap_remove(which % places.len());
        if places.is_empty() {
            producer.stage = Stage::Idle;
        }
        match place {
            Place::Alerts => self.alerts.mark(txn, commit),
            Place::Current => self.current.mark(txn, commit),
            Place::Letters => self.letters.mark(txn, commit),
            Place::Changelog(partition) => self.topic(partition).mark(txn, commit),
            Place::Offsets => {
                let offsets = self.pending.remove(&txn).unwrap_or_default();
                if commit {
                    self.take_offsets(offsets);
                }
            }
        }
        true
    }

    fn take_offsets(&mut self, offsets: Vec<(i32, Committed)>) {
        for (partition, committed) in offsets {
            let epoch = committed.mark.map_or(0, |mark| mark.epoch);
            let next = committed.next_offset;
            let before = self.newest.insert(partition, (epoch, next));
            let (last, from) = before.unwrap_or((0, 0));
            if epoch != last + 1 || next < from {
                self.violate(format!(
                    "epoch {epoch} of partition {partition} up to offset {next} was committed behind epoch \
                     {last} up to offset {from}: two owners, or one that went back"
                ));
            }
            self.offsets.insert(partition, committed);
        }
    }

    /// Takes note of something that nobody may do.
    pub(super) fn violate(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker() -> Broker {
        Broker::new(vec![Bounds { first: 0, end: 10 }])
    }

    fn row(broker: &mut Broker, id: &ProducerId) -> Result<i64, Refused> {
        broker.produce(id, Outgoing::Row(0, (b"k".to_vec(), Some(b"v".to_vec()))))
    }

    fn seen(broker: &Broker) -> usize {
        broker.changelog[0].committed().count()
    }

    #[test]
    fn a_successor_ends_the_transaction_of_its_predecessor_and_fences_it() {
        let mut broker = broker();
        let old = broker.init("slot-0");
        row(&mut broker, &old).unwrap();
        let new = broker.init("slot-0");
        assert_eq!(broker.end(&old, true), Err(Refused::Fenced));
        assert_eq!(row(&mut broker, &old), Err(Refused::Fenced));
        row(&mut broker, &new).unwrap();
        broker.end(&new, true).unwrap();
        assert_eq!(seen(&broker), 0, "the marker follows");
        broker.settle("slot-0");
        assert_eq!(seen(&broker), 1);
        assert!(broker.is_settled());
    }

    #[test]
    fn a_late_request_ends_the_next_transaction_of_the_same_producer() {
        let random = &mut Random::new(1);
        let mut broker = broker();
        let id = broker.init("slot-0");
        row(&mut broker, &id).unwrap();
        broker.commit_late(id.clone());
        broker.end(&id, false).unwrap();
        row(&mut broker, &id).unwrap();
        assert!(broker.deliver_late(random, true));
        broker.settle("slot-0");
        assert_eq!(seen(&broker), 1);
        assert!(broker.violation.is_some());
        // Behind a fresh producer it is worth nothing.
        row(&mut broker, &id).unwrap();
        broker.commit_late(id);
        broker.init("slot-0");
        assert!(broker.deliver_late(random, true));
        assert_eq!(seen(&broker), 1);
    }

    #[test]
    fn an_offset_is_unstable_until_its_transaction_is_over() {
        let random = &mut Random::new(1);
        let mut broker = broker();
        let member = broker.group.join(0, random);
        let generation = broker.group.generation;
        let id = broker.init("slot-0");
        let committed = Committed {
            next_offset: 3,
            mark: None,
        };
        let stale = broker.send_offsets(&id, (member, generation + 1), Vec::new());
        assert_eq!(stale, Err(Refused::IllegalGeneration));
        broker
            .send_offsets(&id, (member, generation), vec![(0, committed)])
            .unwrap();
        assert_eq!(broker.committed(0, true), Err(Refused::Unstable));
        assert_eq!(broker.committed(0, false), Ok(None));
        assert!(broker.time_out(random));
        broker.settle("slot-0");
        assert_eq!(broker.committed(0, true), Ok(None));
        assert!(!broker.is_current(&id));
    }
}
