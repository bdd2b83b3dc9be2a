//! The only unsafe code of the crate: two things that librdkafka knows and
//! rdkafka does not give, or not without a panic.
//!
//! - **Headers.** rdkafka's reader panics on a header whose key is not UTF-8,
//!   and brokers take any bytes there. One such record, on its way to the dead
//!   letters, would stop its partition for good. So headers are read here, and
//!   a key that is not UTF-8 is read as well as it can be.
//! - **Member id.** The one sign that our membership was interrupted which
//!   librdkafka never leaves out, see [`churnwatch_pipeline::ownership`].
#![expect(unsafe_code, reason = "see the module's text")]

use std::ffi::{CStr, c_void};
use std::ptr;

use churnwatch_pipeline::source::Headers;
use rdkafka::ClientContext;
use rdkafka::bindings::{
    rd_kafka_header_get_all, rd_kafka_headers_t, rd_kafka_mem_free, rd_kafka_memberid,
    rd_kafka_message_headers, rd_kafka_resp_err_t,
};
use rdkafka::client::Client;
use rdkafka::message::BorrowedMessage;

/// The id that the group gave to this member; empty or `None` when it has
/// none. Every entry into the group gives a new one.
pub(crate) fn member_id<C: ClientContext>(client: &Client<C>) -> Option<String> {
    let client = client.native_ptr();
    // SAFETY: the client lives as long as its borrow. The text is ours: it is copied, and given
    // back to the allocator it came from.
    unsafe {
        let text = rd_kafka_memberid(client);
        if text.is_null() {
            return None;
        }
        let id = CStr::from_ptr(text).to_string_lossy().into_owned();
        rd_kafka_mem_free(client, text.cast::<c_void>());
        Some(id)
    }
}

/// The headers of a record, read when asked for.
pub(crate) struct MessageHeaders<'a, 'b>(pub(crate) &'a BorrowedMessage<'b>);

impl Headers for MessageHeaders<'_, '_> {
    fn to_vec(&self) -> Vec<(String, Option<Vec<u8>>)> {
        let mut headers: *mut rd_kafka_headers_t = ptr::null_mut();
        // SAFETY: the message lives as long as its borrow, and librdkafka keeps the parsed
        // headers in it. They are only read.
        let found = unsafe { rd_kafka_message_headers(self.0.ptr(), &mut headers) };
        if found != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Vec::new();
        }
        let mut read = Vec::new();
        for index in 0.. {
            let (mut key, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            // SAFETY: `headers` are those of the message, as above. On success the key is a
            // string with its final zero, and the value is null or has `size` bytes.
            unsafe {
                let found =
                    rd_kafka_header_get_all(headers, index, &mut key, &mut value, &mut size);
                if found != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                    break;
                }
                let key = CStr::from_ptr(key).to_string_lossy().into_owned();
                let bytes = |value: *const c_void| {
                    std::slice::from_raw_parts(value.cast::<u8>(), size).to_vec()
                };
                read.push((key, (!value.is_null()).then(|| bytes(value))));
            }
        }
        read
    }
}

impl std::fmt::Debug for MessageHeaders<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.to_vec()).finish()
    }
}
