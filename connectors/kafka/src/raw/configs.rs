//! Asking the broker for a topic's settings.

use std::ffi::{CStr, CString};
use std::time::Duration;

use rdkafka::bindings as sys;

use super::admin::Answer;

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
    let kind = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS;
    // SAFETY: the caller passes the pointer of a client that it keeps alive. The resource is made
    // and destroyed here; the question copies what it needs of it before it returns.
    let answer = unsafe {
        Answer::to(client, kind, patience, |options, queue| {
            let mut resource = sys::rd_kafka_ConfigResource_new(
                sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC,
                topic.as_ptr(),
            );
            sys::rd_kafka_DescribeConfigs(client, &raw mut resource, 1, options, queue);
            sys::rd_kafka_ConfigResource_destroy(resource);
        })
    };
    settings_of(&answer.map_err(|code| code.to_string())?, names)
}

/// Reads the answer.
fn settings_of(answer: &Answer, names: &[&str]) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    // SAFETY: the answer lives, and so does all that it lends: lists of as many pointers as are
    // counted, and NUL-terminated texts.
    unsafe {
        let result = sys::rd_kafka_event_DescribeConfigs_result(answer.event());
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
