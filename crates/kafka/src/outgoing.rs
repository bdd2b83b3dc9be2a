//! Records on their way out: their shape for librdkafka, and dead letters that
//! fit.

use churnwatch_pipeline::DeadLetter;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, ProducerContext};

use crate::client::MAX_MESSAGE_BYTES;
use crate::transaction::Tag;

/// What a record takes beyond its key, value and headers, generously.
const FRAMING_BYTES: usize = 1_024;
/// What is kept of the value of a dead letter that is too large: a look at it.
const CUT_BYTES: usize = 64 * 1024;
/// Says that a dead letter was cut, and gives the size of its value before.
const CUT_HEADER: &str = "churnwatch.value.bytes";
/// The headers that say where a dead letter comes from and why.
const ORIGIN_HEADERS: &str = "__connect.errors.";

/// A record to be produced.
#[derive(Debug, Default)]
pub(crate) struct Outgoing<'a> {
    pub(crate) topic: &'a str,
    /// Chosen by the key where `None`.
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Option<OwnedHeaders>,
    /// Milliseconds since the epoch; now where `None`.
    pub(crate) timestamp: Option<i64>,
    pub(crate) tag: Tag,
}

impl Outgoing<'_> {
    /// Hands the record to the producer. While its queue is full, calls
    /// `wait`, and gives up when that says false.
    pub(crate) fn send<C: ProducerContext<DeliveryOpaque = Tag>>(
        self,
        producer: &BaseProducer<C>,
        mut wait: impl FnMut() -> bool,
    ) -> Result<(), KafkaError> {
        let mut record = BaseRecord::<[u8], [u8], Tag> {
            topic: self.topic,
            partition: self.partition,
            payload: self.value,
            key: self.key,
            timestamp: self.timestamp,
            headers: self.headers,
            delivery_opaque: self.tag,
        };
        loop {
            match producer.send(record) {
                Ok(()) => return Ok(()),
                Err((error, back)) => {
                    let full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
                    if !full || !wait() {
                        return Err(error);
                    }
                    record = back;
                }
            }
        }
    }
}

/// Headers as librdkafka wants them. A key cannot hold a zero there.
pub(crate) fn headers<K: AsRef<str>, V: AsRef<[u8]>>(
    headers: impl IntoIterator<Item = (K, Option<V>)>,
) -> OwnedHeaders {
    headers
        .into_iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| {
            let key = key.as_ref().replace('\0', "\u{fffd}");
            headers.insert(Header {
                key: &key,
                value: value.as_ref().map(AsRef::as_ref),
            })
        })
}

/// A dead letter as it is written: as it came, if it fits.
///
/// One that does not would stop its partition for good: the record could
/// neither be applied nor put away. So it is cut to its beginning, with a
/// header that says so; where the whole record stands is in the headers that
/// are always kept.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FittedLetter<'a> {
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl<'a> FittedLetter<'a> {
    pub(crate) fn new(letter: &'a DeadLetter) -> Self {
        Self::within(
            MAX_MESSAGE_BYTES - FRAMING_BYTES,
            letter.key.as_deref(),
            letter.value.as_deref(),
            letter.headers(),
        )
    }

    fn within(
        limit: usize,
        key: Option<&'a [u8]>,
        value: Option<&'a [u8]>,
        headers: Vec<(String, Option<Vec<u8>>)>,
    ) -> Self {
        let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        let header_bytes: usize = headers
            .iter()
            .map(|(key, value)| key.len() + length(value.as_deref()) + 10)
            .sum();
        if length(key) + length(value) + header_bytes <= limit {
            return Self {
                key,
                value,
                headers,
            };
        }
        let mut kept: Vec<_> = headers
            .into_iter()
            .filter(|(key, _)| key.starts_with(ORIGIN_HEADERS))
            .collect();
        kept.push((
            CUT_HEADER.to_owned(),
            Some(length(value).to_string().into_bytes()),
        ));
        let cut = |bytes: &'a [u8]| &bytes[..bytes.len().min(CUT_BYTES)];
        Self {
            key: key.map(cut),
            value: value.map(cut),
            headers: kept,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(key: &str, bytes: usize) -> (String, Option<Vec<u8>>) {
        (key.to_owned(), Some(vec![b'h'; bytes]))
    }

    #[test]
    fn a_letter_that_fits_stays_as_it_came() {
        let headers = vec![header("trace", 20), header("__connect.errors.stage", 6)];
        let fitted = FittedLetter::within(10_000, Some(b"acme"), Some(b"{broken"), headers.clone());
        assert_eq!(
            fitted,
            FittedLetter {
                key: Some(b"acme"),
                value: Some(b"{broken"),
                headers
            }
        );
    }

    #[test]
    fn a_letter_that_does_not_fit_is_cut_and_says_so() {
        let value = vec![b'v'; 200_000];
        let headers = vec![header("trace", 20), header("__connect.errors.offset", 2)];
        let fitted = FittedLetter::within(150_000, Some(b"acme"), Some(&value), headers);
        assert_eq!(fitted.key, Some(&b"acme"[..]));
        assert_eq!(fitted.value, Some(&value[..CUT_BYTES]));
        assert_eq!(
            fitted.headers,
            [
                header("__connect.errors.offset", 2),
                (CUT_HEADER.to_owned(), Some(b"200000".to_vec()))
            ]
        );
    }

    #[test]
    fn headers_alone_can_make_a_letter_too_large() {
        let fitted = FittedLetter::within(1_000, None, Some(b"v"), vec![header("trace", 2_000)]);
        assert_eq!(fitted.value, Some(&b"v"[..]));
        assert_eq!(
            fitted.headers,
            [(CUT_HEADER.to_owned(), Some(b"1".to_vec()))]
        );
    }

    #[test]
    fn a_tombstone_stays_one() {
        let fitted = FittedLetter::within(1_000, Some(b"k"), None, vec![header("trace", 2_000)]);
        assert_eq!(fitted.value, None);
    }

    #[test]
    fn a_zero_in_a_header_key_is_replaced() {
        use rdkafka::message::Headers;
        let owned = headers([("a\0b", Some("x"))]);
        assert_eq!(owned.get(0).key, "a\u{fffd}b");
    }
}
