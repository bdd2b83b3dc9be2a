//! A made-up load: accounts that work in sessions, day after day.
//!
//! A session is four events of one account, and a thousand sessions are always
//! under way at a time. Every account has as many sessions as every other, in an
//! order that looks random, so that no account is near its next session when it
//! has to leave the memory.

use std::time::Duration;

use churnwatch_core::{EventTime, time::DAY_MS};
use rdkafka::{
    ClientConfig,
    error::RDKafkaErrorCode,
    producer::{BaseProducer, BaseRecord, Producer as _},
};

/// Events of a session.
const SESSION: u64 = 4;
/// Sessions that are under way at a time.
const AT_A_TIME: u64 = 1_000;
/// A prime, to walk over all accounts in an order that is not theirs.
const STRIDE: u64 = 2_654_435_761;

pub(crate) struct Load {
    pub(crate) accounts: u64,
    pub(crate) events: u64,
    pub(crate) days: u64,
    pub(crate) start: EventTime,
}

impl Load {
    /// The account and the event of this number.
    pub(crate) fn event(&self, number: u64) -> (String, String) {
        let block = number / (AT_A_TIME * SESSION);
        let within = number % (AT_A_TIME * SESSION);
        let (session, step) = (block * AT_A_TIME + within % AT_A_TIME, within / AT_A_TIME);
        let account = format!(
            "account-{:07}",
            session.wrapping_mul(STRIDE) % self.accounts
        );
        let millis = self.days as i64 * DAY_MS * number as i64 / self.events as i64;
        let time = self.start.plus_millis(millis);
        // One session in ten is about a ticket.
        let event = if session % 10 == 9 && step == SESSION - 1 {
            format!(
                r#"{{"kind":"ticket","account_id":"{account}","time":"{time}","ticket_id":"t{session}","action":"opened","severity":"P3"}}"#
            )
        } else {
            let (user, feature) = (session / self.accounts % 3, (session + step) % 5);
            format!(
                r#"{{"kind":"usage","account_id":"{account}","time":"{time}","user_id":"user-{user}","feature":"feature-{feature}"}}"#
            )
        };
        (account, event)
    }

    /// Writes the events of these numbers to a topic, in order, as fast as it
    /// takes them.
    pub(crate) fn produce(&self, bootstrap: &str, topic: &str, numbers: std::ops::Range<u64>) {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("partitioner", "murmur2_random")
            .set("enable.idempotence", "true")
            .set("compression.type", "lz4")
            .set("linger.ms", "20")
            .set("queue.buffering.max.kbytes", "65536")
            .create()
            .expect("a producer");
        for number in numbers {
            let (account, event) = self.event(number);
            let mut record = BaseRecord::to(topic).key(&account).payload(&event);
            while let Err((error, back)) = producer.send(record) {
                assert_eq!(
                    error.rdkafka_error_code(),
                    Some(RDKafkaErrorCode::QueueFull)
                );
                producer.poll(Duration::from_millis(5));
                record = back;
            }
        }
        producer
            .flush(Duration::from_secs(300))
            .expect("the broker takes the events");
    }
}
