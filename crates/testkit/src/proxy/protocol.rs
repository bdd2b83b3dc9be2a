//! As much of Kafka's protocol as a proxy must know: where a message ends,
//! which request it is, and which answer belongs to it.
//!
//! ```text
//! request   length i32 | api key i16 | version i16 | correlation id i32 | ...
//! reply     length i32 | correlation id i32 | ...
//! ```

use std::io::{self, ErrorKind, Read};

/// A kind of request, by its key in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Api(pub i16);

impl Api {
    /// Records to a topic.
    pub const PRODUCE: Self = Self(0);
    /// Offsets of a group, committed beside any transaction.
    pub const OFFSET_COMMIT: Self = Self(8);
    /// Which offsets a group has committed.
    pub const OFFSET_FETCH: Self = Self(9);
    /// Which broker coordinates a group or a transactional id.
    pub const FIND_COORDINATOR: Self = Self(10);
    /// A producer introduces itself.
    pub const INIT_PRODUCER_ID: Self = Self(22);
    /// A group's offsets become part of a transaction.
    pub const ADD_OFFSETS_TO_TXN: Self = Self(25);
    /// Commit or abort.
    pub const END_TXN: Self = Self(26);
    /// The offsets that are part of a transaction.
    pub const TXN_OFFSET_COMMIT: Self = Self(28);
}

/// No message is longer; whatever is, is not Kafka's protocol.
const LONGEST: usize = 64 << 20;

/// Reads a message with its length; `None` at the end of the stream.
pub(super) fn read_frame(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    }
    let body = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if body > LONGEST {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            "this is not Kafka's protocol",
        ));
    }
    let mut frame = length.to_vec();
    frame.resize(4 + body, 0);
    from.read_exact(&mut frame[4..])?;
    Ok(Some(frame))
}

/// The kind of a request, and the number by which its answer is known.
pub(super) fn request(frame: &[u8]) -> Option<(Api, i32)> {
    let api = frame.get(4..6)?.try_into().ok()?;
    let id = frame.get(8..12)?.try_into().ok()?;
    Some((Api(i16::from_be_bytes(api)), i32::from_be_bytes(id)))
}

/// The number of the request that a reply answers.
pub(super) fn reply(frame: &[u8]) -> Option<i32> {
    let id = frame.get(4..8)?.try_into().ok()?;
    Some(i32::from_be_bytes(id))
}

/// The error code in the answer to an `EndTxn` of version 0 to 2, which is
/// what librdkafka sends.
pub(super) fn end_txn_error(frame: &[u8]) -> Option<i16> {
    // Behind the correlation id stands for how long the client shall be quiet.
    let code = frame.get(12..14)?.try_into().ok()?;
    Some(i16::from_be_bytes(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_whole_and_known_by_its_header() {
        let bytes = [
            &[0, 0, 0, 9][..],
            &[0, 26, 0, 1, 0, 0, 1, 2, 77],
            &[0, 0, 0, 1],
        ]
        .concat();
        let mut from = bytes.as_slice();
        let frame = read_frame(&mut from).unwrap().unwrap();
        assert_eq!(frame, bytes[..13]);
        assert_eq!(request(&frame), Some((Api::END_TXN, 258)));
        assert!(read_frame(&mut from).is_err(), "cut short");
        assert_eq!(read_frame(&mut [].as_slice()).unwrap(), None);
    }

    #[test]
    fn what_is_too_long_to_be_a_message_is_refused() {
        assert!(read_frame(&mut b"GET / HTTP/1.0".as_slice()).is_err());
    }

    #[test]
    fn a_reply_has_its_number_and_its_error() {
        let frame = [0, 0, 0, 10, 0, 0, 1, 2, 0, 0, 0, 0, 0, 47];
        assert_eq!(reply(&frame), Some(258));
        assert_eq!(end_txn_error(&frame), Some(47));
    }
}
