//! The only unsafe code of the crate: four things that librdkafka has and
//! rdkafka does not give, or not without a panic.
//!
//! - **Headers.** rdkafka's reader panics on a header whose key is not UTF-8,
//!   and brokers take any bytes there. One such record, on its way to the dead
//!   letters, would stop its partition for good. So headers are read here, and
//!   a key that is not UTF-8 is read as well as it can be.
//! - **Member id.** The one sign that our membership was interrupted which
//!   librdkafka never leaves out, see [`churnwatch_pipeline::ownership`].
//! - **Topic ids.** What tells a topic from another one of the same name.
//! - **Batches.** Taking fetched records over in batches costs a third of taking
//!   them one by one, which counts where a changelog is read back. Only from a
//!   partition's own queue: the consumer's has rebalances and the like in it.
#![expect(unsafe_code, reason = "see the module's text")]

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{CStr, CString, c_void};
use std::ptr::{self, NonNull};
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
    rd_kafka_consume_batch_queue, rd_kafka_error_code, rd_kafka_event_DescribeTopics_result,
    rd_kafka_event_destroy, rd_kafka_event_error, rd_kafka_event_error_string,
    rd_kafka_header_get_all, rd_kafka_headers_t, rd_kafka_mem_free, rd_kafka_memberid,
    rd_kafka_message_destroy, rd_kafka_message_headers, rd_kafka_message_t, rd_kafka_queue_destroy,
    rd_kafka_queue_forward, rd_kafka_queue_get_partition, rd_kafka_queue_new, rd_kafka_queue_poll,
    rd_kafka_queue_t, rd_kafka_resp_err_t, rd_kafka_t,
};
use rdkafka::client::Client;
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaErrorCode;

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
        // SAFETY: the message lives as long as its borrow.
        unsafe { headers_of(self.0.ptr()) }
    }
}

/// The headers of a message.
///
/// # Safety
/// The message lives meanwhile.
unsafe fn headers_of(message: *const rd_kafka_message_t) -> Vec<(String, Option<Vec<u8>>)> {
    let mut headers: *mut rd_kafka_headers_t = ptr::null_mut();
    // SAFETY: librdkafka keeps the parsed headers in the message. They are only read.
    let found = unsafe { rd_kafka_message_headers(message, &mut headers) };
    if found != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Vec::new();
    }
    let mut read = Vec::new();
    for index in 0.. {
        let (mut key, mut value, mut size) = (ptr::null(), ptr::null(), 0);
        // SAFETY: `headers` are those of the message, as above. On success the key is a
        // string with its final zero, and the value is null or has `size` bytes.
        unsafe {
            let found = rd_kafka_header_get_all(headers, index, &mut key, &mut value, &mut size);
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

impl std::fmt::Debug for MessageHeaders<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.to_vec()).finish()
    }
}

/// Records taken over at a time.
const BATCH: usize = 1_000;

/// The queue of one partition of a consumer that is assigned by hand: its
/// records, its end, and what is wrong with it. It must be dropped before the
/// consumer.
pub(crate) struct PartitionQueue {
    queue: NonNull<rd_kafka_queue_t>,
    /// Taken over and not handed out.
    waiting: VecDeque<FetchedRecord>,
}

// SAFETY: librdkafka's queues and messages may be used from any thread, and ours are used by one
// at a time.
unsafe impl Send for PartitionQueue {}

impl PartitionQueue {
    /// Takes the partition's records out of the consumer's own queue, from its
    /// next assignment on and for as long as the consumer lives.
    pub(crate) fn of<C: ClientContext>(
        client: &Client<C>,
        topic: &str,
        partition: i32,
    ) -> Option<Self> {
        let topic = CString::new(topic).ok()?;
        // SAFETY: the client lives as long as its borrow, the name is copied. The queue is ours
        // until it is destroyed.
        let queue = unsafe {
            let queue =
                rd_kafka_queue_get_partition(client.native_ptr(), topic.as_ptr(), partition);
            let queue = NonNull::new(queue)?;
            rd_kafka_queue_forward(queue.as_ptr(), ptr::null_mut());
            queue
        };
        Some(Self {
            queue,
            waiting: VecDeque::new(),
        })
    }

    /// The next record, or what is wrong; waits up to `timeout` for it.
    pub(crate) fn next(
        &mut self,
        timeout: Duration,
    ) -> Option<Result<FetchedRecord, RDKafkaErrorCode>> {
        if self.waiting.is_empty() {
            // With a time to wait it would wait until the batch is full.
            self.take_over(Duration::ZERO, BATCH);
            if self.waiting.is_empty() && timeout > Duration::ZERO {
                self.take_over(timeout, 1);
            }
        }
        self.waiting.pop_front().map(FetchedRecord::checked)
    }

    fn take_over(&mut self, timeout: Duration, most: usize) {
        let mut batch: [*mut rd_kafka_message_t; BATCH] = [ptr::null_mut(); BATCH];
        let millis = timeout.as_millis().min(1_000) as i32;
        // SAFETY: the queue is ours, and the batch has room for as many messages as are asked for.
        // Each one that comes is ours until it is destroyed.
        let taken = unsafe {
            rd_kafka_consume_batch_queue(self.queue.as_ptr(), millis, batch.as_mut_ptr(), most)
        };
        let taken = usize::try_from(taken).unwrap_or(0);
        let messages = batch[..taken].iter().copied();
        self.waiting
            .extend(messages.filter_map(NonNull::new).map(FetchedRecord));
    }
}

impl Drop for PartitionQueue {
    fn drop(&mut self) {
        // Messages first: they hold on to the partition.
        self.waiting.clear();
        // SAFETY: it is ours, and nobody has it after this.
        unsafe { rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

/// A record as it was fetched.
pub(crate) struct FetchedRecord(NonNull<rd_kafka_message_t>);

impl FetchedRecord {
    /// Errors of a partition come as messages too.
    fn checked(self) -> Result<Self, RDKafkaErrorCode> {
        // SAFETY: the message is ours for as long as `self` lives.
        let error = unsafe { self.0.as_ref() }.err;
        if error == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            Ok(self)
        } else {
            Err(error.into())
        }
    }

    pub(crate) fn headers(&self) -> Vec<(String, Option<Vec<u8>>)> {
        // SAFETY: as above.
        unsafe { headers_of(self.0.as_ptr()) }
    }

    pub(crate) fn partition(&self) -> i32 {
        // SAFETY: as above.
        unsafe { self.0.as_ref() }.partition
    }

    pub(crate) fn offset(&self) -> i64 {
        // SAFETY: as above.
        unsafe { self.0.as_ref() }.offset
    }

    pub(crate) fn key(&self) -> Option<&[u8]> {
        // SAFETY: as above; key and length belong together.
        unsafe {
            let message = self.0.as_ref();
            bytes(message.key, message.key_len)
        }
    }

    pub(crate) fn value(&self) -> Option<&[u8]> {
        // SAFETY: as above; value and length belong together.
        unsafe {
            let message = self.0.as_ref();
            bytes(message.payload, message.len)
        }
    }
}

impl Drop for FetchedRecord {
    fn drop(&mut self) {
        // SAFETY: it is ours, and nobody has it after this.
        unsafe { rd_kafka_message_destroy(self.0.as_ptr()) }
    }
}

/// The bytes at an address, which is null where there are none.
///
/// # Safety
/// Where it is not null, `length` bytes stand there for as long as `'a`.
unsafe fn bytes<'a>(start: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller says so.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast::<u8>(), length) })
}
