//! Asking the broker for a topic's settings.
//!
//! rdkafka does that only through a client of its own, with its own connections and threads. The
//! one we have can ask as well.

use std::ffi::{CStr, CString};
use std::ptr;
use std::time::Duration;

use rdkafka::bindings as sys;

/// The named settings of a topic, in the order of `names`; those that the broker does not tell are
/// left out. Blocks for up to `patience`.
///
/// # Errors
/// The broker does not answer, or refuses.
pub(crate) fn topic_settings(
    client: *mut sys::rd_kafka_t,
    topic: &str,
    names: &[&str],
    patience: Duration,
) -> Result<Vec<(String, String)>, String> {
    let topic = CString::new(topic).map_err(|_| "a topic's name holds a NUL".to_owned())?;
    let patience = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the caller passes the pointer of a client that it keeps alive. Queue, options and
    // resource are made and destroyed here; the request copies what it needs of them before it
    // returns. What the event lends is only read before the event is destroyed.
    unsafe {
        let queue = sys::rd_kafka_queue_new(client);
        let options = sys::rd_kafka_AdminOptions_new(
            client,
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS,
        );
        // Refused only for a time out of range, which then stays the default of a minute.
        sys::rd_kafka_AdminOptions_set_request_timeout(options, patience, ptr::null_mut(), 0);
        let mut resource = sys::rd_kafka_ConfigResource_new(
            sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC,
            topic.as_ptr(),
        );
        sys::rd_kafka_DescribeConfigs(client, &raw mut resource, 1, options, queue);
        let event = sys::rd_kafka_queue_poll(queue, patience.saturating_add(1_000));
        let answer = settings_of(event, names);
        if !event.is_null() {
            sys::rd_kafka_event_destroy(event);
        }
        sys::rd_kafka_ConfigResource_destroy(resource);
        sys::rd_kafka_AdminOptions_destroy(options);
        sys::rd_kafka_queue_destroy(queue);
        answer
    }
}

/// Reads the answer.
///
/// # Safety
/// `event` is null, or an event that lives until this returns.
unsafe fn settings_of(
    event: *mut sys::rd_kafka_event_t,
    names: &[&str],
) -> Result<Vec<(String, String)>, String> {
    if event.is_null() {
        return Err("no answer in time".to_owned());
    }
    let mut found = Vec::new();
    // SAFETY: the event lives, by contract, and so does all that it lends: lists of as many
    // pointers as are counted, and NUL-terminated texts.
    unsafe {
        if sys::rd_kafka_event_error(event) != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            return Err(text(sys::rd_kafka_event_error_string(event)).unwrap_or_default());
        }
        let result = sys::rd_kafka_event_DescribeConfigs_result(event);
        if result.is_null() {
            return Err("another answer than was asked for".to_owned());
        }
        let mut count = 0;
        let resources = sys::rd_kafka_DescribeConfigs_result_resources(result, &raw mut count);
        for index in 0..count {
            let resource = *resources.add(index);
            if sys::rd_kafka_ConfigResource_error(resource)
                != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
            {
                let said = text(sys::rd_kafka_ConfigResource_error_string(resource));
                return Err(said.unwrap_or_default());
            }
            let mut count = 0;
            let entries = sys::rd_kafka_ConfigResource_configs(resource, &raw mut count);
            for index in 0..count {
                let entry = *entries.add(index);
                let name = text(sys::rd_kafka_ConfigEntry_name(entry)).unwrap_or_default();
                if names.contains(&name.as_str())
                    && let Some(value) = text(sys::rd_kafka_ConfigEntry_value(entry))
                {
                    found.push((name, value));
                }
            }
        }
    }
    Ok(found)
}

/// # Safety
/// `text` is null or NUL-terminated.
unsafe fn text(text: *const std::ffi::c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: by contract.
    Some(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}
