//! A member of the group, as the detect loop sees it: [`Source`], [`Sink`] and
//! [`Changelog`] on the model of the broker.
//!
//! They keep the contracts as the crate `churnwatch-kafka` does, and with the
//! same book of who owns what ([`Ownership`]). Between any two requests the
//! process may die or sleep while others go on.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use churnwatch_core::EventTime;
use churnwatch_faults::{Defence, Moment, holds, pass};
use churnwatch_pipeline::ownership::Ownership;
use churnwatch_pipeline::source::NoHeaders;
use churnwatch_pipeline::{
    Changelog, ChangelogMark, ChangelogRead, CommitError, Committed, Epoch, PartitionEpoch,
    PartitionId, Polled, RecordRef, Sink, Source, SourceError, Visit,
};

use super::{
    broker::{Outgoing, ProducerId, Refused},
    group::MemberId,
    run::Run,
    topic::Row,
};
use crate::world::Letter;

/// What source and sink of a member know in common.
#[derive(Default)]
pub(super) struct Client {
    /// Our stay in the group, as far as we know.
    member: Option<MemberId>,
    /// Thrown out, and told so.
    lost: bool,
    /// Found out that it was thrown out, and gives its place up.
    leaves: bool,
    /// What is ours, as far as we know.
    readings: BTreeMap<i32, Reading>,
    ownership: Ownership,
    /// What the group had committed when it was asked last.
    asked: BTreeMap<i32, Option<Committed>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Paused,
    /// Delivers from this offset on.
    From(i64),
}

pub(super) struct ModelSource {
    run: Rc<Run>,
    slot: usize,
    client: Rc<RefCell<Client>>,
}

/// The three parts of a member.
pub(super) fn member(run: &Rc<Run>, slot: usize) -> (ModelSource, ModelSink, ModelChangelog) {
    let client = Rc::<RefCell<Client>>::default();
    let source = ModelSource {
        run: Rc::clone(run),
        slot,
        client: Rc::clone(&client),
    };
    let mut sink = ModelSink {
        run: Rc::clone(run),
        slot,
        client,
        producer: Producer::Starting,
    };
    // It introduces itself in the background: now, or when it is first needed.
    if run.chance(500) {
        sink.introduce();
    }
    let changelog = ModelChangelog {
        run: Rc::clone(run),
        slot,
        reading: None,
    };
    (source, sink, changelog)
}

impl ModelSource {
    /// Joins, or finds out that it was thrown out.
    fn membership(&mut self) -> Option<Polled> {
        let mut client = self.client.borrow_mut();
        let mut broker = self.run.broker.borrow_mut();
        let leaves = std::mem::take(&mut client.leaves);
        let was_in = match client.member {
            Some(member) if broker.group.has(member) && !leaves => return None,
            Some(_) => true,
            None => false,
        };
        // librdkafka leaves the word "lost" out if it is busy with an earlier
        // rebalance; then the member joins anew with what it thinks is its own.
        let untold = !leaves && self.run.may(|f| f.untold);
        let is_told = was_in && !client.readings.is_empty() && !untold;
        if is_told {
            self.run.say(self.slot, || "was thrown out".to_owned());
            client.member = None;
            client.lost = true;
            let partitions: Vec<PartitionId> =
                client.readings.keys().map(|p| PartitionId(*p)).collect();
            for partition in &partitions {
                client.ownership.lose(*partition);
                client.readings.insert(partition.0, Reading::Paused);
            }
            return Some(Polled::Revoked {
                partitions,
                lost: true,
            });
        }
        let member = broker
            .group
            .join(self.slot, &mut self.run.random.borrow_mut());
        self.run.say(self.slot, || format!("joins as {member}"));
        client.member = Some(member);
        client.lost = false;
        None
    }

    /// What the group wants of us.
    fn rebalance(&mut self) -> Option<Polled> {
        let mut client = self.client.borrow_mut();
        let mut broker = self.run.broker.borrow_mut();
        let member = client.member?;
        let ours: Vec<i32> = client.readings.keys().copied().collect();
        let go: Vec<i32> = ours
            .into_iter()
            .filter(|partition| !broker.group.is_target(*partition, member))
            .collect();
        if !go.is_empty() {
            for partition in &go {
                client.readings.insert(*partition, Reading::Paused);
            }
            self.run.say(self.slot, || format!("has to give {go:?}"));
            return Some(Polled::Revoked {
                partitions: go.into_iter().map(PartitionId).collect(),
                lost: false,
            });
        }
        // What it had before, and thinks it still has, comes back without a word.
        let mut come = broker.group.claim(member);
        come.retain(|partition| !client.readings.contains_key(partition));
        if come.is_empty() {
            return None;
        }
        self.run.say(self.slot, || format!("is given {come:?}"));
        Some(Polled::Assigned(
            come.into_iter().map(PartitionId).collect(),
        ))
    }

    /// Hands over a few records of one partition.
    fn read(&mut self, visit: &mut dyn FnMut(RecordRef<'_>)) -> Polled {
        let readings = self.client.borrow().readings.clone();
        let ready: Vec<(i32, i64)> = readings
            .into_iter()
            .filter_map(|(partition, reading)| match reading {
                Reading::From(next) => Some((partition, next)),
                Reading::Paused => None,
            })
            .collect();
        let Some((partition, from)) = self.run.random.borrow_mut().one_of(&ready) else {
            return Polled::Idle;
        };
        let at = usize::try_from(partition).expect("a partition is not negative");
        let bounds = self.run.broker.borrow().log[at];
        if from < bounds.first && holds(Defence::Bounds) {
            // Trimmed while it was being read: joins anew to find out which.
            self.run.say(self.slot, || {
                format!("{partition} was trimmed beyond {from}")
            });
            let mut client = self.client.borrow_mut();
            if let Some(member) = client.member.take() {
                let random = &mut self.run.random.borrow_mut();
                self.run.broker.borrow_mut().group.remove(member, random);
            }
            client.lost = true;
            let partitions = client.readings.keys().map(|p| PartitionId(*p)).collect();
            return Polled::Revoked {
                partitions,
                lost: true,
            };
        }
        let from = from.max(bounds.first);
        let records = &self.run.log.partitions[at];
        let mut next = records.partition_point(|record| record.offset < from);
        let most = self.run.random.borrow_mut().within(1..9);
        if next > 0 && self.run.may(|f| f.repeat) {
            self.run.say(self.slot, || {
                format!("is handed a record of {partition} again")
            });
            next -= 1;
        }
        let records = records[next..].iter().take(most);
        let mut handed = 0;
        let mut reached = from;
        for record in records.take_while(|record| record.offset < bounds.end) {
            handed += 1;
            reached = record.offset + 1;
            visit(RecordRef {
                partition: PartitionId(partition),
                offset: record.offset,
                appended_at: record.timestamp_ms.map(EventTime::from_millis),
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: &NoHeaders,
            });
        }
        if handed == 0 {
            return Polled::Idle;
        }
        self.run
            .say(self.slot, || format!("reads {partition} to {reached}"));
        let mut client = self.client.borrow_mut();
        let reached = reached.max(from);
        client.readings.insert(partition, Reading::From(reached));
        client.ownership.read(PartitionId(partition), reached);
        Polled::Records(handed)
    }

    fn answers(&self, question: &str) -> Result<(), SourceError> {
        self.run.point(self.slot, question);
        if self.run.may(|f| f.silence) {
            self.run
                .say(self.slot, || format!("gets no answer: {question}"));
            return Err(SourceError::Retry(format!("no answer: {question}")));
        }
        Ok(())
    }
}

impl Source for ModelSource {
    fn poll(
        &mut self,
        _timeout: Duration,
        visit: &mut dyn FnMut(RecordRef<'_>),
    ) -> Result<Polled, SourceError> {
        self.run.point(self.slot, "poll");
        if let Some(told) = self.membership() {
            return Ok(told);
        }
        // A rebalance is noticed now, or only behind what was fetched before it.
        if !self.run.may(|f| f.slow_rebalance)
            && let Some(told) = self.rebalance()
        {
            return Ok(told);
        }
        Ok(self.read(visit))
    }

    fn has_joined(&self) -> bool {
        self.client.borrow().member.is_some()
    }

    fn accept(&mut self, partitions: &[PartitionId]) -> Result<(), SourceError> {
        let mut client = self.client.borrow_mut();
        let member = name_of(client.member);
        for partition in partitions {
            client.readings.insert(partition.0, Reading::Paused);
            client.ownership.accept(*partition, &member);
        }
        Ok(())
    }

    fn committed(
        &mut self,
        partitions: &[PartitionId],
        _timeout: Duration,
    ) -> Result<Vec<(PartitionId, Option<Committed>)>, SourceError> {
        self.answers("committed offsets")?;
        let mut found = Vec::new();
        {
            let mut client = self.client.borrow_mut();
            let broker = self.run.broker.borrow();
            let member = name_of(client.member);
            if member.is_empty() {
                return Err(SourceError::Retry("not in the group".to_owned()));
            }
            for partition in partitions {
                if let Err(error) = client.ownership.position_asked(*partition, &member) {
                    client.leaves = true;
                    return Err(SourceError::Rejoin(error.to_string()));
                }
            }
            for partition in partitions {
                let committed = broker
                    .committed(partition.0, holds(Defence::StableOffsets))
                    .map_err(|refused| {
                        SourceError::Retry(format!("partition {partition}: {refused}"))
                    })?;
                client.asked.insert(partition.0, committed.clone());
                found.push((*partition, committed));
            }
        }
        self.run.say(self.slot, || told(&found));
        self.run.point(self.slot, "committed offsets were read");
        Ok(found)
    }

    fn bounds(&mut self, partition: PartitionId) -> Result<(i64, i64), SourceError> {
        self.answers("bounds")?;
        let at = usize::try_from(partition.0).expect("a partition is not negative");
        let bounds = self.run.broker.borrow().log[at];
        Ok((bounds.first, bounds.end))
    }

    fn resume(&mut self, partition: PartitionId, offset: i64) -> Result<(), SourceError> {
        self.answers("seek")?;
        let mut client = self.client.borrow_mut();
        if !client.readings.contains_key(&partition.0) {
            return Err(SourceError::Retry(format!("{partition} is not ours")));
        }
        if let Some(Some(committed)) = client.asked.get(&partition.0)
            && committed.next_offset != offset
        {
            self.run.broker.borrow_mut().violate(format!(
                "slot {}: partition {partition} goes on at {offset}, where {} is committed",
                self.slot, committed.next_offset
            ));
        }
        self.run.say(self.slot, || {
            format!("goes on with {partition} at {offset}")
        });
        client.readings.insert(partition.0, Reading::From(offset));
        client.ownership.resume(partition, offset);
        self.run.count(|c| c.restores += 1);
        Ok(())
    }

    fn pause(&mut self, partition: PartitionId) -> Result<(), SourceError> {
        let mut client = self.client.borrow_mut();
        if let Some(reading) = client.readings.get_mut(&partition.0) {
            *reading = Reading::Paused;
        }
        Ok(())
    }

    fn release(&mut self, partitions: &[PartitionId], _lost: bool) -> Result<(), SourceError> {
        let mut client = self.client.borrow_mut();
        for partition in partitions {
            client.readings.remove(&partition.0);
            client.ownership.release(*partition);
            client.asked.remove(&partition.0);
            if let Some(member) = client.member {
                let mut broker = self.run.broker.borrow_mut();
                broker.group.release(partition.0, member);
            }
        }
        Ok(())
    }

    fn close(&mut self) {}
}

fn name_of(member: Option<MemberId>) -> String {
    member.map_or_else(String::new, |member| member.to_string())
}

fn told(found: &[(PartitionId, Option<Committed>)]) -> String {
    let told = found.iter().map(|(partition, committed)| match committed {
        Some(Committed {
            next_offset,
            mark: Some(mark),
        }) => format!("{partition} is at {next_offset}, epoch {}", mark.epoch),
        Some(Committed { next_offset, .. }) => format!("{partition} is at {next_offset}, no mark"),
        None => format!("{partition} has no offset"),
    });
    told.collect::<Vec<_>>().join(", ")
}

enum Producer {
    /// Introduces itself to the broker.
    Starting,
    Ready(ProducerId),
    /// Not to be used any more.
    Spoiled(Option<ProducerId>),
}

pub(super) struct ModelSink {
    run: Rc<Run>,
    slot: usize,
    client: Rc<RefCell<Client>>,
    producer: Producer,
}

impl ModelSink {
    fn introduce(&mut self) -> ProducerId {
        let name = if holds(Defence::Fencing) {
            format!("slot-{}", self.slot)
        } else {
            format!("slot-{}-{}", self.slot, self.run.number())
        };
        let id = self.run.broker.borrow_mut().init(&name);
        self.run.say(self.slot, || {
            format!("is producer {name}, epoch {}", id.epoch)
        });
        self.producer = Producer::Ready(id.clone());
        id
    }

    fn ready(&mut self) -> Result<ProducerId, CommitError> {
        match &self.producer {
            Producer::Ready(id) => Ok(id.clone()),
            Producer::Starting if self.run.may(|f| f.silence) => {
                Err(CommitError::Retry("no answer: introduction".to_owned()))
            }
            Producer::Starting => Ok(self.introduce()),
            Producer::Spoiled(_) => {
                let text = "the producer must be reset after an error";
                Err(CommitError::Aborted(text.to_owned()))
            }
        }
    }

    /// Under which membership it commits, if it may.
    fn membership(&self, parts: &[PartitionEpoch]) -> Result<(MemberId, u32), CommitError> {
        let client = self.client.borrow();
        let fenced = |text: String| CommitError::Fenced(text);
        let member = client.member.filter(|_| !client.lost);
        let member = member.ok_or_else(|| fenced("this member was thrown out".to_owned()))?;
        for part in parts {
            client
                .ownership
                .may_commit(part.partition, part.next_offset, &name_of(Some(member)))
                .map_err(|error| fenced(error.to_string()))?;
        }
        Ok((member, self.run.broker.borrow().group.generation))
    }

    fn transact(&mut self, id: &ProducerId, epoch: &Epoch) -> Result<Vec<i64>, CommitError> {
        let member = self.membership(&epoch.partitions)?;
        self.run.broker.borrow_mut().settle(&id.name);
        self.run.point(self.slot, "transaction begun");
        let records = outgoing(epoch);
        let cut = self
            .run
            .may(|f| f.cut)
            .then(|| self.run.random.borrow_mut().below(records.len()));
        let mut marks = Vec::new();
        for (at, (record, is_mark)) in records.into_iter().enumerate() {
            if cut == Some(at) {
                return Err(CommitError::Aborted("a record was not delivered".into()));
            }
            let offset = self.run.broker.borrow_mut().produce(id, record);
            let offset = offset.map_err(before_commit)?;
            marks.extend(is_mark.then_some(offset));
        }
        pass(Moment::AfterProduce);
        self.run.point(self.slot, "records delivered");
        let offsets = offsets_of(&epoch.partitions, &marks);
        if holds(Defence::OffsetsInTransaction) {
            let sent = offsets.clone();
            let sent = self.run.broker.borrow_mut().send_offsets(id, member, sent);
            sent.map_err(before_commit)?;
        }
        pass(Moment::AfterOffsets);
        self.run.point(self.slot, "offsets sent");
        self.ask_for_commit(id)?;
        if !holds(Defence::OffsetsInTransaction) {
            self.run.point(self.slot, "committed, without offsets");
            let sent = self.run.broker.borrow_mut().commit_offsets(member, offsets);
            sent.map_err(|refused| CommitError::InDoubt(refused.to_string()))?;
        }
        self.run.point(self.slot, "committed");
        Ok(marks)
    }

    fn ask_for_commit(&self, id: &ProducerId) -> Result<(), CommitError> {
        let lost = |text: &str| {
            self.run.say(self.slot, || format!("commit: {text}"));
            self.run.count(|c| c.in_doubt += 1);
            Err(CommitError::InDoubt(format!("no answer; {text}")))
        };
        if self.run.may(|f| f.doubt) {
            match self.run.below(3) {
                0 => return lost("the request was lost"),
                1 => {
                    self.run.broker.borrow_mut().commit_late(id.clone());
                    self.run.point(self.slot, "commit asked for");
                    return lost("the request is late");
                }
                _ => {
                    let _ = self.run.broker.borrow_mut().end(id, true);
                    return lost("the answer was lost");
                }
            }
        }
        let ended = self.run.broker.borrow_mut().end(id, true);
        ended.map_err(|refused| match refused {
            Refused::Fenced => CommitError::Fenced(refused.to_string()),
            _ => CommitError::InDoubt(refused.to_string()),
        })
    }
}

impl Sink for ModelSink {
    fn commit(&mut self, epoch: &Epoch) -> Result<Vec<i64>, CommitError> {
        let id = self.ready()?;
        self.producer = Producer::Spoiled(Some(id.clone()));
        let result = self.transact(&id, epoch);
        match &result {
            Ok(_) => {
                let mut client = self.client.borrow_mut();
                for part in &epoch.partitions {
                    client.ownership.committed(part.partition, part.next_offset);
                    self.run.say(self.slot, || {
                        let (partition, next) = (part.partition, part.next_offset);
                        format!("committed epoch {} of {partition} to {next}", part.epoch)
                    });
                }
                self.producer = Producer::Ready(id);
            }
            Err(error) => {
                self.run
                    .say(self.slot, || format!("did not commit: {error}"));
                // What is dropped is closed, and so flushed, as far as it comes to that.
                if self.run.chance(500) {
                    self.run.flush(self.slot);
                }
                // It tells the broker, which may not hear it.
                if !matches!(error, CommitError::InDoubt(_)) && self.run.chance(500) {
                    let _ = self.run.broker.borrow_mut().end(&id, false);
                }
            }
        }
        result
    }

    fn reset(&mut self) -> Result<(), CommitError> {
        self.run.point(self.slot, "reset");
        if self.run.may(|f| f.silence) {
            return Err(CommitError::Retry("no answer: introduction".to_owned()));
        }
        if let Producer::Spoiled(Some(id)) = &self.producer
            && !holds(Defence::FreshProducer)
            && self.run.broker.borrow().is_current(id)
        {
            // The same one goes on, as long as the broker lets it.
            let _ = self.run.broker.borrow_mut().end(id, false);
            self.producer = Producer::Ready(id.clone());
            return Ok(());
        }
        self.introduce();
        Ok(())
    }

    fn write_clock(&mut self, _partition: PartitionId, _value: Vec<u8>) {}
}

/// The records of an epoch in their order, and which of them are the marks.
fn outgoing(epoch: &Epoch) -> Vec<(Outgoing, bool)> {
    let mut records = Vec::new();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("a body is UTF-8");
    for emission in &epoch.alerts {
        let account = emission.transition.alert.account_id.to_string();
        let body = text(emission.body.to_json());
        records.push((Outgoing::Alert(account, body), false));
        let (key, open) = emission.current();
        records.push((Outgoing::Current(key, open.map(text)), false));
    }
    for letter in &epoch.dead_letters {
        let place = (letter.partition, letter.offset);
        records.push((Outgoing::Letter(place, Letter::of(letter)), false));
    }
    for part in &epoch.partitions {
        let mut row = |row: Row, is_mark| {
            records.push((Outgoing::Row(part.partition.0, row), is_mark));
        };
        part.rows
            .iter()
            .for_each(|change| row(change.clone(), false));
        let (key, value) = part.epoch_record.clone();
        row((key, Some(value)), true);
    }
    records
}

fn offsets_of(parts: &[PartitionEpoch], marks: &[i64]) -> Vec<(i32, Committed)> {
    let of = |(part, mark): (&PartitionEpoch, &i64)| {
        let mark = ChangelogMark {
            epoch: part.epoch,
            changelog_offset: *mark,
            digest: part.digest,
        };
        let committed = Committed {
            next_offset: part.next_offset,
            mark: Some(mark),
        };
        (part.partition.0, committed)
    };
    parts.iter().zip(marks).map(of).collect()
}

fn before_commit(refused: Refused) -> CommitError {
    match refused {
        Refused::Fenced | Refused::IllegalGeneration => CommitError::Fenced(refused.to_string()),
        Refused::NoTransaction | Refused::Unstable => CommitError::Aborted(refused.to_string()),
    }
}

pub(super) struct ModelChangelog {
    run: Rc<Run>,
    slot: usize,
    /// Partition and next offset.
    reading: Option<(usize, i64)>,
}

impl ModelChangelog {
    fn answers(&self, question: &str) -> Result<(), SourceError> {
        self.run.point(self.slot, question);
        if self.run.may(|f| f.silence) {
            return Err(SourceError::Retry(format!("no answer: {question}")));
        }
        Ok(())
    }
}

impl Changelog for ModelChangelog {
    fn begin(&mut self, partition: PartitionId, after: i64) -> Result<(i64, i64), SourceError> {
        self.answers("begin the changelog")?;
        let at = usize::try_from(partition.0).expect("a partition is not negative");
        let broker = self.run.broker.borrow();
        let end = if holds(Defence::CommittedChangelog) {
            broker.changelog[at].stable_end()
        } else {
            broker.changelog[at].end()
        };
        self.run.say(self.slot, || {
            format!("reads the changelog of {partition} behind {after}, up to {end}")
        });
        self.reading = Some((at, after + 1));
        Ok((0, end))
    }

    fn read(
        &mut self,
        _timeout: Duration,
        visit: &mut dyn FnMut(i64, &[u8], Option<&[u8]>) -> Visit,
    ) -> Result<ChangelogRead, SourceError> {
        self.answers("read the changelog")?;
        let Some((at, from)) = self.reading else {
            let text = "the changelog was read before it was begun";
            return Err(SourceError::Fatal(text.to_owned()));
        };
        if self.run.may(|f| f.trimmed) {
            let text = "the changelog was trimmed while it was read";
            return Err(SourceError::Rejoin(text.to_owned()));
        }
        let most = self.run.random.borrow_mut().within(1..60);
        let broker = self.run.broker.borrow();
        let topic = &broker.changelog[at];
        let mut records = topic.read(from, holds(Defence::CommittedChangelog));
        for stored in records.by_ref().take(most) {
            self.reading = Some((at, stored.offset + 1));
            let (key, value) = &stored.record;
            if visit(stored.offset, key, value.as_deref()) == Visit::Stop {
                return Ok(ChangelogRead::Stopped);
            }
        }
        Ok(if records.next().is_none() {
            ChangelogRead::AtEnd
        } else {
            ChangelogRead::More
        })
    }

    fn end(&mut self) {
        self.reading = None;
    }
}
