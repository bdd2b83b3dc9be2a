//! Headers of a consumed record.
//!
//! The only unsafe code of the crate. rdkafka's own reader panics on a header
//! whose key is not UTF-8, and the broker takes any bytes there: one such
//! record, on its way to the dead letters, would stop its partition for good.
//! So the headers are read here with the same two calls of librdkafka, and a
//! key that is not UTF-8 is read as well as it can be.
#![expect(unsafe_code, reason = "see the module's text")]

use std::ffi::CStr;
use std::ptr;

use churnwatch_pipeline::source::Headers;
use rdkafka::bindings::{
    rd_kafka_header_get_all, rd_kafka_headers_t, rd_kafka_message_headers, rd_kafka_resp_err_t,
};
use rdkafka::message::BorrowedMessage;

/// The headers of a record, read when asked for.
pub(crate) struct MessageHeaders<'a, 'b>(pub(crate) &'a BorrowedMessage<'b>);

impl Headers for MessageHeaders<'_, '_> {
    fn to_vec(&self) -> Vec<(String, Option<Vec<u8>>)> {
        let mut headers: *mut rd_kafka_headers_t = ptr::null_mut();
        // SAFETY: the message is alive as long as its borrow, and librdkafka keeps the parsed
        // headers in it. They are only read.
        let found = unsafe { rd_kafka_message_headers(self.0.ptr(), &mut headers) };
        if found != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Vec::new();
        }
        (0..).map_while(|index| header(headers, index)).collect()
    }
}

/// One header; `None` behind the last. `headers` must be those of a living message.
fn header(headers: *const rd_kafka_headers_t, index: usize) -> Option<(String, Option<Vec<u8>>)> {
    let (mut key, mut value, mut size) = (ptr::null(), ptr::null(), 0);
    // SAFETY: see the caller; on success the key is a string with its final zero and the value
    // is null or has `size` bytes, both inside of the headers.
    unsafe {
        let found = rd_kafka_header_get_all(headers, index, &mut key, &mut value, &mut size);
        if found != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        let key = CStr::from_ptr(key).to_string_lossy().into_owned();
        let value = (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), size).to_vec());
        Some((key, value))
    }
}

impl std::fmt::Debug for MessageHeaders<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.to_vec()).finish()
    }
}
