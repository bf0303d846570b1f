//! The few things librdkafka and the C library can do and no safe wrapper of theirs, and the only
//! `unsafe` of this connector.
//!
//! rdkafka's own accessors of header names and commit metadata panic on bytes that are not UTF-8.
//! Both are written by strangers: producers of a topic, and other tools that commit in our group.

#![expect(unsafe_code, reason = "what has no safe wrapper, or one that panics")]

mod admin;
mod configs;
mod ends;

pub(crate) use configs::topic_settings;
pub(crate) use ends::log_ends;

use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::time::SystemTime;

use bytes::Bytes;
use connector_core::Attribute;
use rdkafka::bindings as sys;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, OwnedHeaders};
use rdkafka::topic_partition_list::TopicPartitionList;

use crate::login::Token;

/// The headers of a record: any bytes, order and duplicates kept, null told from empty.
pub(crate) fn headers(message: &BorrowedMessage<'_>) -> Vec<Attribute> {
    let mut headers = ptr::null_mut();
    // SAFETY: the message is alive; the list it lends stays owned by it and is only read below,
    // while `message` is borrowed.
    let found = unsafe { sys::rd_kafka_message_headers(message.ptr(), &raw mut headers) };
    if found != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Vec::new();
    }
    // SAFETY: the list of a message that is alive.
    unsafe { attributes(headers) }
}

/// Reads a list.
///
/// # Safety
/// The list is alive and nobody writes to it.
unsafe fn attributes(headers: *const sys::rd_kafka_headers_t) -> Vec<Attribute> {
    let mut attributes = Vec::new();
    loop {
        let mut name = ptr::null();
        let mut value = ptr::null();
        let mut len = 0;
        // SAFETY: the caller's list is alive; the out pointers are ours. An index past the
        // end is answered with an error and writes nothing.
        let found = unsafe {
            sys::rd_kafka_header_get_all(
                headers,
                attributes.len(),
                &raw mut name,
                &raw mut value,
                &raw mut len,
            )
        };
        if found != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return attributes;
        }
        // SAFETY: names are NUL-terminated and live as long as the list.
        let name = Bytes::copy_from_slice(unsafe { CStr::from_ptr(name) }.to_bytes());
        let value = (!value.is_null()).then(|| {
            // SAFETY: a value that is not null is `len` bytes long and lives as long as the list.
            Bytes::copy_from_slice(unsafe { std::slice::from_raw_parts(value.cast(), len) })
        });
        attributes.push(Attribute { name, value });
    }
}

/// The epoch of the leader that wrote the record; -1 where the broker is too old to tell.
pub(crate) fn leader_epoch(message: &BorrowedMessage<'_>) -> i32 {
    // SAFETY: the message is alive.
    unsafe { sys::rd_kafka_message_leader_epoch(message.ptr()) }
}

/// The metadata of every element of a list of commits, in the list's order.
pub(crate) fn metadata(list: &TopicPartitionList) -> Vec<Vec<u8>> {
    // SAFETY: the list is alive, `elems` points to `cnt` elements, and each one's metadata is
    // either null or `metadata_size` bytes.
    unsafe {
        let list = &*list.ptr();
        if list.elems.is_null() {
            return Vec::new();
        }
        let elements =
            std::slice::from_raw_parts(list.elems, usize::try_from(list.cnt).unwrap_or(0));
        elements
            .iter()
            .map(|element| {
                if element.metadata.is_null() {
                    return Vec::new();
                }
                std::slice::from_raw_parts(element.metadata.cast(), element.metadata_size).to_vec()
            })
            .collect()
    }
}

/// Headers for a record to be produced, from any bytes.
pub(crate) fn owned_headers<'a>(
    attributes: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
) -> OwnedHeaders {
    let headers = OwnedHeaders::new();
    for (name, value) in attributes {
        let (value, len) = value.map_or((ptr::null(), 0), |v| (v.as_ptr(), v.len()));
        // SAFETY: a `BorrowedHeaders` *is* the native list, seen through a reference, and
        // `headers` owns it alone. Name and value are copied before the call returns; a length
        // given for the name makes a terminating NUL unnecessary.
        let added = unsafe {
            sys::rd_kafka_header_add(
                ptr::from_ref(headers.as_borrowed()).cast::<sys::rd_kafka_headers_t>().cast_mut(),
                name.as_ptr().cast::<c_char>(),
                name.len().cast_signed(),
                value.cast(),
                len.cast_signed(),
            )
        };
        // Refused only for a list that must not be written to, which a new one is not.
        debug_assert!(added == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR);
    }
    headers
}

/// What is found in headers made of these: as a consumer will read them.
#[cfg(feature = "testing")]
pub(crate) fn headers_again<'a>(
    given: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
) -> Vec<Attribute> {
    let headers = owned_headers(given);
    // SAFETY: as above, a `BorrowedHeaders` is the native list, which `headers` keeps alive.
    unsafe { attributes(ptr::from_ref(headers.as_borrowed()).cast()) }
}

/// Commits offsets and metadata, asynchronously. What became of it is told to the consumer's
/// `commit_callback`, in the poll of its main queue.
///
/// rdkafka's own asynchronous commit names no queue for the answer, so librdkafka throws it away:
/// with the event interface that rdkafka uses, the callback hears of automatic commits alone.
///
/// # Errors
/// The commit was not even begun.
pub(crate) fn commit(
    client: *mut sys::rd_kafka_t,
    offsets: &TopicPartitionList,
) -> Result<(), KafkaError> {
    // SAFETY: the caller passes the pointer of a consumer that it keeps alive. The list is copied
    // before the call returns; the queue's handle is ours to destroy, which leaves the queue.
    let answer = unsafe {
        let queue = sys::rd_kafka_queue_get_consumer(client);
        if queue.is_null() {
            return Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::UnknownGroup));
        }
        let answer =
            sys::rd_kafka_commit_queue(client, offsets.ptr(), queue, None, ptr::null_mut());
        sys::rd_kafka_queue_destroy(queue);
        answer
    };
    match answer {
        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        refused => Err(KafkaError::ConsumerCommit(refused.into())),
    }
}

/// The name that the group gave this member; empty while it is in none.
pub(crate) fn member_id(client: *mut sys::rd_kafka_t) -> String {
    // SAFETY: the caller passes the pointer of a client that it keeps alive. The text is ours to
    // free, with the library's own allocator.
    unsafe {
        let id = sys::rd_kafka_memberid(client);
        if id.is_null() {
            return String::new();
        }
        let text = CStr::from_ptr(id).to_string_lossy().into_owned();
        sys::rd_kafka_mem_free(client, id.cast());
        text
    }
}

/// Gives a running client the credentials for its next connections.
///
/// # Errors
/// What librdkafka says, or that a credential holds a NUL.
pub(crate) fn set_credentials(
    client: *mut sys::rd_kafka_t,
    username: &str,
    password: &str,
) -> Result<(), String> {
    let username = CString::new(username).map_err(|_| "the username holds a NUL".to_owned())?;
    let password = CString::new(password).map_err(|_| "the password holds a NUL".to_owned())?;
    // SAFETY: the caller passes the pointer of a client that it keeps alive; both strings are
    // copied before the call returns, and an error that comes back is ours to destroy.
    unsafe {
        let error =
            sys::rd_kafka_sasl_set_credentials(client, username.as_ptr(), password.as_ptr());
        if error.is_null() {
            return Ok(());
        }
        let said = CStr::from_ptr(sys::rd_kafka_error_string(error)).to_string_lossy().into_owned();
        sys::rd_kafka_error_destroy(error);
        Err(said)
    }
}

/// Gives a running client the token for its next connections.
///
/// # Errors
/// What librdkafka says: the token has ended, or holds what no token may.
pub(crate) fn set_token(client: *mut sys::rd_kafka_t, token: &Token) -> Result<(), String> {
    let text = |text: &str| CString::new(text).map_err(|_| "the token holds a NUL".to_owned());
    let value = text(token.value.expose())?;
    let ends = token.ends.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // It counts in microseconds itself.
    let ends = i64::try_from(ends.as_millis()).unwrap_or(i64::MAX).min(i64::MAX / 1000);
    let extensions: Vec<CString> = token
        .extensions
        .iter()
        .flat_map(|(name, value)| [text(name), text(value)])
        .collect::<Result<_, _>>()?;
    let mut extensions: Vec<_> = extensions.iter().map(|text| text.as_ptr()).collect();
    let mut said = [0; 512];
    // SAFETY: the caller passes the pointer of a client that it keeps alive. All texts live until
    // the call returns and are copied by it; `said` is written within its length, with a NUL.
    let (answer, said) = unsafe {
        let answer = sys::rd_kafka_oauthbearer_set_token(
            client,
            value.as_ptr(),
            ends,
            c"tributary".as_ptr(),
            extensions.as_mut_ptr(),
            extensions.len(),
            said.as_mut_ptr(),
            said.len(),
        );
        (answer, CStr::from_ptr(said.as_ptr()))
    };
    match answer {
        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        _ => Err(said.to_string_lossy().into_owned()),
    }
}
