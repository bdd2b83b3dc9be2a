//! The only unsafe code of the crate: three things that librdkafka knows and
//! rdkafka does not give, or not without a panic.
//!
//! - **Headers.** rdkafka's reader panics on a header whose key is not UTF-8,
//!   and brokers take any bytes there. One such record, on its way to the dead
//!   letters, would stop its partition for good. So headers are read here, and
//!   a key that is not UTF-8 is read as well as it can be.
//! - **Member id.** The one sign that our membership was interrupted which
//!   librdkafka never leaves out, see [`churnwatch_pipeline::ownership`].
//! - **Topic ids.** What tells a topic from another one of the same name.
#![expect(unsafe_code, reason = "see the module's text")]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_void};
use std::ptr;
use std::time::Duration;

use churnwatch_pipeline::source::Headers;
use rdkafka::ClientContext;
use rdkafka::bindings::{
    rd_kafka_AdminOptions_destroy, rd_kafka_AdminOptions_new,
    rd_kafka_AdminOptions_set_request_timeout, rd_kafka_DescribeTopics,
    rd_kafka_DescribeTopics_result_topics, rd_kafka_TopicCollection_destroy,
    rd_kafka_TopicCollection_of_topic_names, rd_kafka_TopicDescription_error,
    rd_kafka_TopicDescription_name, rd_kafka_TopicDescription_topic_id, rd_kafka_Uuid_base64str,
    rd_kafka_Uuid_least_significant_bits, rd_kafka_Uuid_most_significant_bits, rd_kafka_admin_op_t,
    rd_kafka_error_code, rd_kafka_event_DescribeTopics_result, rd_kafka_event_destroy,
    rd_kafka_event_error, rd_kafka_event_error_string, rd_kafka_header_get_all, rd_kafka_headers_t,
    rd_kafka_mem_free, rd_kafka_memberid, rd_kafka_message_headers, rd_kafka_queue_destroy,
    rd_kafka_queue_new, rd_kafka_queue_poll, rd_kafka_resp_err_t, rd_kafka_t,
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

/// The ids of topics by their names. A broker that gives none (Kafka before
/// 2.8) has no entry, and neither has a topic that is not there.
///
/// # Errors
/// librdkafka's words, where the brokers do not answer within `timeout`.
pub(crate) fn topic_ids<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
    timeout: Duration,
) -> Result<BTreeMap<String, String>, String> {
    let names: Vec<CString> = topics
        .iter()
        .map(|name| CString::new(*name).map_err(|error| error.to_string()))
        .collect::<Result<_, _>>()?;
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the client lives as long as its borrow.
    unsafe { describe_topics(client.native_ptr(), &names, millis) }
}

/// # Safety
/// `client` is a client that lives until this returns.
unsafe fn describe_topics(
    client: *mut rd_kafka_t,
    names: &[CString],
    millis: i32,
) -> Result<BTreeMap<String, String>, String> {
    let mut names: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    // SAFETY: everything that is made here is destroyed here, in the order that librdkafka asks
    // for, and the result is read while its event is alive. The names are copied by the call that
    // takes them, the options and the collection by the request.
    unsafe {
        let collection = rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        let operation = rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let options = rd_kafka_AdminOptions_new(client, operation);
        // What it says of an unfit time-out is no reason not to ask.
        rd_kafka_AdminOptions_set_request_timeout(options, millis, ptr::null_mut(), 0);
        let queue = rd_kafka_queue_new(client);
        rd_kafka_DescribeTopics(client, collection, options, queue);
        let event = rd_kafka_queue_poll(queue, millis);
        let answer = if event.is_null() {
            Err("no broker answered in time".to_owned())
        } else if rd_kafka_event_error(event) != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            let text = CStr::from_ptr(rd_kafka_event_error_string(event));
            Err(text.to_string_lossy().into_owned())
        } else {
            let result = rd_kafka_event_DescribeTopics_result(event);
            let mut count = 0;
            let found = rd_kafka_DescribeTopics_result_topics(result, &mut count);
            let mut ids = BTreeMap::new();
            for index in 0..count {
                let topic = *found.add(index);
                let error = rd_kafka_TopicDescription_error(topic);
                let is_there = error.is_null()
                    || rd_kafka_error_code(error)
                        == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
                let id = rd_kafka_TopicDescription_topic_id(topic);
                let is_known = !id.is_null()
                    && (rd_kafka_Uuid_most_significant_bits(id) != 0
                        || rd_kafka_Uuid_least_significant_bits(id) != 0);
                if is_there && is_known {
                    let text = |text| CStr::from_ptr(text).to_string_lossy().into_owned();
                    let name = text(rd_kafka_TopicDescription_name(topic));
                    ids.insert(name, text(rd_kafka_Uuid_base64str(id)));
                }
            }
            Ok(ids)
        };
        if !event.is_null() {
            rd_kafka_event_destroy(event);
        }
        rd_kafka_queue_destroy(queue);
        rd_kafka_AdminOptions_destroy(options);
        rd_kafka_TopicCollection_destroy(collection);
        answer
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
