//! Where logs end, whoever may read so far.

use std::ffi::CStr;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::admin::Answer;
use crate::client::Partition;

/// The offset that the next record will have, of each partition: open transactions are records as
/// well, which they are not to the consumer's own questions. Blocks for up to `patience`.
///
/// # Errors
/// The broker does not answer, or refuses to for one of them.
pub(crate) fn log_ends(
    client: *mut sys::rd_kafka_t,
    mut partitions: TopicPartitionList,
    patience: Duration,
) -> Result<Vec<(Partition, i64)>, KafkaError> {
    if partitions.count() == 0 {
        return Ok(Vec::new());
    }
    partitions.set_all_offsets(Offset::End)?;
    let kind = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS;
    // SAFETY: the caller passes the pointer of a client that it keeps alive. The question copies
    // the list. As its options are, it is asked for what is not committed too.
    let answer = unsafe {
        Answer::to(client, kind, patience, |options, queue| {
            sys::rd_kafka_ListOffsets(client, partitions.ptr(), options, queue);
        })
    };
    ends_of(&answer.map_err(KafkaError::OffsetFetch)?).map_err(KafkaError::OffsetFetch)
}

/// Reads the answer.
fn ends_of(answer: &Answer) -> Result<Vec<(Partition, i64)>, RDKafkaErrorCode> {
    // SAFETY: the answer lives, and so does all that it lends: a list of as many pointers as are
    // counted, each to a partition with a NUL-terminated name.
    unsafe {
        let result = sys::rd_kafka_event_ListOffsets_result(answer.event());
        if result.is_null() {
            return Err(RDKafkaErrorCode::BadMessage);
        }
        let mut count = 0;
        let infos = sys::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
        let end = |index| {
            let info = *infos.add(index);
            let found = &*sys::rd_kafka_ListOffsetsResultInfo_topic_partition(info);
            if found.err != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(found.err.into());
            }
            let topic = CStr::from_ptr(found.topic).to_string_lossy().as_ref().into();
            Ok((Partition { topic, number: found.partition }, found.offset))
        };
        (0..count).map(end).collect()
    }
}
