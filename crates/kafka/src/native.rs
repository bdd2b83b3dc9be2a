//! The only unsafe code of the crate: three things that librdkafka has and
//! rdkafka does not give, or not without a panic.
//!
//! - **Headers.** rdkafka's reader panics on a header whose key is not UTF-8,
//!   and brokers take any bytes there. One such record, on its way to the dead
//!   letters, would stop its partition for good. So headers are read here, and
//!   a key that is not UTF-8 is read as well as it can be.
//! - **Member id.** The one sign that our membership was interrupted which
//!   librdkafka never leaves out, see [`crate::ownership`].
//! - **Batches.** Taking fetched records over in batches costs a third of taking
//!   them one by one, which counts where a changelog is read back. Only from a
//!   partition's own queue: the consumer's has rebalances and the like in it.
#![expect(unsafe_code, reason = "see the module's text")]

use std::collections::VecDeque;
use std::ffi::{CStr, CString, c_void};
use std::ptr::{self, NonNull};
use std::time::Duration;

use churnwatch_pipeline::source::Headers;
use rdkafka::ClientContext;
use rdkafka::bindings::{
    rd_kafka_consume_batch_queue, rd_kafka_header_get_all, rd_kafka_headers_t, rd_kafka_mem_free,
    rd_kafka_memberid, rd_kafka_message_destroy, rd_kafka_message_headers, rd_kafka_message_t,
    rd_kafka_queue_destroy, rd_kafka_queue_forward, rd_kafka_queue_get_partition, rd_kafka_queue_t,
    rd_kafka_resp_err_t,
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
