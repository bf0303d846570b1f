//! Asking the broker what rdkafka asks only through a client of its own, with its own connections
//! and threads. The one we have can ask as well.

use std::ptr;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::error::RDKafkaErrorCode;

/// What the broker has answered. Whatever librdkafka lends of it lives as long.
pub(super) struct Answer(*mut sys::rd_kafka_event_t);

impl Answer {
    /// Asks, and blocks for up to `patience`. `begin` is given the options and the queue for it.
    ///
    /// # Safety
    /// The client is alive, and `begin` begins a question of this kind.
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub(super) unsafe fn to(
        client: *mut sys::rd_kafka_t,
        kind: sys::rd_kafka_admin_op_t,
        patience: Duration,
        begin: impl FnOnce(*const sys::rd_kafka_AdminOptions_t, *mut sys::rd_kafka_queue_t),
    ) -> Result<Self, RDKafkaErrorCode> {
        let patience = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the client is alive, by contract. Queue and options are made and destroyed here;
        // the question copies what it needs of the options, and holds on to the queue.
        let answer = unsafe {
            let queue = sys::rd_kafka_queue_new(client);
            let options = sys::rd_kafka_AdminOptions_new(client, kind);
            // Refused only for a time out of range, which then stays the default of a minute.
            sys::rd_kafka_AdminOptions_set_request_timeout(options, patience, ptr::null_mut(), 0);
            begin(options, queue);
            let event = sys::rd_kafka_queue_poll(queue, patience.saturating_add(1_000));
            sys::rd_kafka_AdminOptions_destroy(options);
            sys::rd_kafka_queue_destroy(queue);
            Self(event)
        };
        if answer.0.is_null() {
            return Err(RDKafkaErrorCode::OperationTimedOut);
        }
        // SAFETY: the event is alive.
        match unsafe { sys::rd_kafka_event_error(answer.0) } {
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(answer),
            refused => Err(refused.into()),
        }
    }

    /// The event that it came as: not null.
    pub(super) fn event(&self) -> *mut sys::rd_kafka_event_t {
        self.0
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: it is ours, and nobody looks at it any more.
            unsafe { sys::rd_kafka_event_destroy(self.0) };
        }
    }
}
