//! `clock`: a source has been read up to its end.
//!
//! The only kind that is about no account, and the only one we write
//! ourselves: see [`encode_clock`].

use churnwatch_core::{event::Clock, ids::SourceName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Record, Shape,
    field::{Check, Name, NotKept, Time},
    number::Whole,
};
use crate::{
    rejection::{RejectReason, Rejection},
    rfc3339::UtcTime,
};

/// The most parts a source may have.
const SHARDS_MAX: i64 = 4_096;

/// One shard of a source has been read up to its end as of `time`: what has not
/// come by then did not happen. One stands in every partition of the log.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(crate) struct ClockRecord<'a> {
    /// What sort of record this is.
    #[schemars(with = "String", extend("const" = "clock"))]
    kind: Name<'a, NotKept>,
    /// The source that has been read; `log` speaks for every source. 1 to 512
    /// bytes.
    source: Name<'a, SourceName>,
    /// Which part of the source, from 0, below `shards`.
    shard: Whole<u32, 0, { SHARDS_MAX - 1 }>,
    /// How many parts the source has, 1 to 4096.
    shards: Whole<u32, 1, SHARDS_MAX>,
    /// Nothing older is still to come from this shard: RFC 3339 with an offset,
    /// read to the millisecond.
    time: Time<'a>,
}

impl<'a> Shape<'a> for ClockRecord<'a> {
    fn check(&self) -> Result<Record, Rejection> {
        debug_assert_eq!(
            self.kind.as_str(),
            "clock",
            "read as the kind that it names"
        );
        let (shard, shards) = (self.shard.check("shard")?, self.shards.check("shards")?);
        if shard >= shards {
            return Err(Rejection::new(
                RejectReason::OutOfRange,
                format!("shard is {shard} of shards {shards}: count shards from 0"),
            ));
        }
        Ok(Record::Clock(Clock {
            source: self.source.check("source")?,
            shard,
            shards,
            time: self.time.check("time")?,
        }))
    }
}

/// The value of a clock record, as the worker of an idle partition writes it.
pub fn encode_clock(clock: &Clock) -> Vec<u8> {
    #[derive(Serialize)]
    struct ClockValue<'a> {
        kind: &'static str,
        source: &'a str,
        shard: u32,
        shards: u32,
        time: UtcTime,
    }

    let value = ClockValue {
        kind: "clock",
        source: clock.source.as_str(),
        shard: clock.shard,
        shards: clock.shards,
        time: UtcTime(clock.time),
    };
    serde_json::to_vec(&value).expect("a struct of texts and numbers is always JSON")
}

#[cfg(test)]
mod tests {
    use churnwatch_core::time::EventTime;

    use super::*;
    use crate::decode;

    #[test]
    fn a_written_clock_reads_back() {
        let clock = Clock {
            source: SourceName::from("crm \"eu\""),
            shard: 3,
            shards: 4,
            time: EventTime::from_millis(1_772_357_400_123),
        };
        let value = encode_clock(&clock);
        assert_eq!(
            String::from_utf8_lossy(&value),
            r#"{"kind":"clock","source":"crm \"eu\"","shard":3,"shards":4,"time":"2026-03-01T09:30:00.123Z"}"#
        );
        assert_eq!(decode(&value), Ok(Record::Clock(clock)));
    }
}
