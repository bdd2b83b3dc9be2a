//! The whole fleet's events in order of time, and how they are written.

use std::io::{self, Write};

use super::{
    activity,
    calendar::Moment,
    event::{AccountNumber, Event, Fact},
    plan::Plan,
    relations,
    rng::Rng,
    story::STORIES,
    support,
};

/// Accounts in the fleet.
pub(crate) const ACCOUNTS: u16 = 240;

/// The seed of the bundled data set.
pub(crate) const SEED: u64 = 20_260_105;

/// All events of the data set, in order of time.
#[derive(Debug, Clone)]
pub(crate) struct Fleet {
    events: Vec<Event>,
}

/// One record of the log, ready to be produced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// The account id: the key of the record.
    pub(crate) key: String,
    /// Event time in milliseconds since the Unix epoch.
    pub(crate) time_ms: i64,
    /// The canonical event: one JSON object without an end of line.
    pub(crate) json: String,
}

impl Fleet {
    /// Makes the fleet of a seed; takes a fraction of a second and a few dozen MB.
    pub(crate) fn generate(seed: u64) -> Self {
        let mut events = Vec::new();
        for number in 1..=ACCOUNTS {
            live_out(AccountNumber(number), seed, &mut events);
        }
        // The account's events are in order already; the sequence keeps those
        // of one second so.
        events.sort_unstable_by_key(|event| (event.time, event.account, event.sequence));
        Self { events }
    }

    /// How many events there are.
    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    /// Writes the events as canonical JSON, one a line.
    ///
    /// # Errors
    /// Those of `out`. Many small writes are made: give it a buffer.
    pub(crate) fn write_ndjson(&self, out: &mut impl Write) -> io::Result<()> {
        for event in &self.events {
            event.write_json(&mut *out)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    }

    /// The events as records of the log, in order of time.
    pub(crate) fn records(&self) -> impl ExactSizeIterator<Item = Record> {
        self.events.iter().map(|event| {
            let mut json = Vec::with_capacity(192);
            event
                .write_json(&mut json)
                .expect("a vector takes every write");
            Record {
                key: event.account.to_string(),
                time_ms: event.time.as_millis(),
                json: String::from_utf8(json).expect("serde_json writes UTF-8"),
            }
        })
    }
}

fn live_out(number: AccountNumber, seed: u64, events: &mut Vec<Event>) {
    let mut rng = Rng::new(seed, u64::from(number.0));
    let story = STORIES.iter().find(|story| story.number == number.0);
    let mut plan = Plan::draw(number, story.map(|story| story.shape), &mut rng);
    if let Some(story) = story {
        (story.bend)(&mut plan, &mut rng, story.day);
    }
    let mut told: Vec<(Moment, Fact)> = Vec::new();
    relations::act_out(&plan, &mut rng, &mut told);
    support::act_out(&plan, &mut rng, &mut told);
    activity::act_out(&plan, &mut rng, &mut told);
    told.retain(|(time, _)| time.is_told());
    told.sort_by_key(|(time, _)| *time);
    events.extend((1..).zip(told).map(|(sequence, (time, fact))| Event {
        time,
        account: number,
        sequence,
        fact,
    }));
}
