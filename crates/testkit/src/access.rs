//! Rights on a broker: given and taken away, by the broker's own interface.
//! rdkafka has none for it, so librdkafka is called directly.
#![expect(
    unsafe_code,
    reason = "calls of librdkafka; each object is made, used and given back within one function"
)]

use std::ffi::{CStr, CString};
use std::ptr;

use rdkafka::ClientConfig;
use rdkafka::bindings as native;
use rdkafka::consumer::{BaseConsumer, Consumer};

/// How long the broker may take for an answer.
const ANSWER_MS: i32 = 30_000;

/// What a right is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// A topic.
    Topic,
    /// A group of consumers.
    Group,
    /// Transactional ids that begin like this.
    TransactionalIds,
}

/// What may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Read records; commit offsets and join, for a group.
    Read,
    /// Write records.
    Write,
    /// See that it is there.
    Describe,
    /// See its settings.
    DescribeConfigs,
}

/// One right of one user, from any host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    /// Whose, without `User:`.
    pub user: String,
    /// On what sort of thing.
    pub resource: Resource,
    /// Which one.
    pub name: String,
    /// To do what.
    pub operation: Operation,
}

/// Gives rights, at a broker where we may.
///
/// # Panics
/// The broker does not.
pub fn give(bootstrap: &str, rights: &[Right]) {
    let client = client(bootstrap);
    // SAFETY: the client lives until the end of the function. Every text outlives the call that
    // reads it, and librdkafka copies it. The bindings are ours until they are destroyed, after
    // the answer; so is the answer, and what it points to is read before it is destroyed.
    unsafe {
        let mut bindings: Vec<_> = rights.iter().map(|right| binding(right)).collect();
        let rk = client.client().native_ptr();
        let queue = native::rd_kafka_queue_new(rk);
        native::rd_kafka_CreateAcls(
            rk,
            bindings.as_mut_ptr(),
            bindings.len(),
            ptr::null(),
            queue,
        );
        let event = answer(queue);
        let mut count = 0;
        let result = native::rd_kafka_event_CreateAcls_result(event);
        let results = native::rd_kafka_CreateAcls_result_acls(result, &mut count);
        assert_eq!(count, rights.len(), "an answer for each right");
        for (index, right) in rights.iter().enumerate() {
            let error = native::rd_kafka_acl_result_error(*results.add(index));
            expect_none(error, right);
        }
        native::rd_kafka_event_destroy(event);
        native::rd_kafka_queue_destroy(queue);
        bindings
            .into_iter()
            .for_each(|binding| native::rd_kafka_AclBinding_destroy(binding));
    }
}

/// Takes a right away again.
///
/// # Panics
/// The broker does not, or it was not given.
pub fn take(bootstrap: &str, right: &Right) {
    let client = client(bootstrap);
    // SAFETY: as in `give`; a filter is a binding of the same shape.
    unsafe {
        let mut filter = binding(right);
        let rk = client.client().native_ptr();
        let queue = native::rd_kafka_queue_new(rk);
        native::rd_kafka_DeleteAcls(rk, &mut filter, 1, ptr::null(), queue);
        let event = answer(queue);
        let mut count = 0;
        let result = native::rd_kafka_event_DeleteAcls_result(event);
        let responses = native::rd_kafka_DeleteAcls_result_responses(result, &mut count);
        assert_eq!(count, 1, "one answer");
        let response = *responses;
        expect_none(
            native::rd_kafka_DeleteAcls_result_response_error(response),
            right,
        );
        native::rd_kafka_DeleteAcls_result_response_matching_acls(response, &mut count);
        assert_eq!(count, 1, "{right:?} was there to be taken");
        native::rd_kafka_event_destroy(event);
        native::rd_kafka_queue_destroy(queue);
        native::rd_kafka_AclBinding_destroy(filter);
    }
}

fn client(bootstrap: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    let client = config.set("bootstrap.servers", bootstrap).create();
    client.expect("a client")
}

/// The right as librdkafka has it; to be destroyed.
unsafe fn binding(right: &Right) -> *mut native::rd_kafka_AclBinding_t {
    use native::{
        rd_kafka_AclOperation_t as Op, rd_kafka_AclPermissionType_t as Permission,
        rd_kafka_ResourcePatternType_t as Pattern, rd_kafka_ResourceType_t as Type,
    };
    let (resource, pattern) = match right.resource {
        Resource::Topic => (
            Type::RD_KAFKA_RESOURCE_TOPIC,
            Pattern::RD_KAFKA_RESOURCE_PATTERN_LITERAL,
        ),
        Resource::Group => (
            Type::RD_KAFKA_RESOURCE_GROUP,
            Pattern::RD_KAFKA_RESOURCE_PATTERN_LITERAL,
        ),
        Resource::TransactionalIds => (
            Type::RD_KAFKA_RESOURCE_TRANSACTIONAL_ID,
            Pattern::RD_KAFKA_RESOURCE_PATTERN_PREFIXED,
        ),
    };
    let operation = match right.operation {
        Operation::Read => Op::RD_KAFKA_ACL_OPERATION_READ,
        Operation::Write => Op::RD_KAFKA_ACL_OPERATION_WRITE,
        Operation::Describe => Op::RD_KAFKA_ACL_OPERATION_DESCRIBE,
        Operation::DescribeConfigs => Op::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS,
    };
    let text = |text: &str| CString::new(text).expect("no zero in a name");
    let (name, user) = (text(&right.name), text(&format!("User:{}", right.user)));
    // SAFETY: the texts live until the call returns, and are copied by it.
    let binding = unsafe {
        native::rd_kafka_AclBinding_new(
            resource,
            name.as_ptr(),
            pattern,
            user.as_ptr(),
            c"*".as_ptr(),
            operation,
            Permission::RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW,
            ptr::null_mut(),
            0,
        )
    };
    assert!(!binding.is_null(), "{right:?} can be said");
    binding
}

/// Waits for the broker's answer; to be destroyed.
unsafe fn answer(queue: *mut native::rd_kafka_queue_t) -> *mut native::rd_kafka_event_t {
    // SAFETY: the queue is alive, and the text is copied before anything is destroyed.
    unsafe {
        let event = native::rd_kafka_queue_poll(queue, ANSWER_MS);
        assert!(!event.is_null(), "the broker answers");
        let error = native::rd_kafka_event_error(event);
        if error != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            let text = CStr::from_ptr(native::rd_kafka_event_error_string(event));
            panic!("{}", text.to_string_lossy());
        }
        event
    }
}

unsafe fn expect_none(error: *const native::rd_kafka_error_t, right: &Right) {
    if !error.is_null() {
        // SAFETY: an error that is not null has a text for as long as it lives.
        let text = unsafe { CStr::from_ptr(native::rd_kafka_error_string(error)) };
        panic!("{right:?}: {}", text.to_string_lossy());
    }
}
