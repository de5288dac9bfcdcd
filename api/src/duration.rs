//! Times of messages, which may be negative, to and from those of the model, which may not.

use crate::InvalidMessage;
use std::time::Duration;

pub(crate) fn duration_to_proto(duration: Duration) -> prost_types::Duration {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    prost_types::Duration { seconds, nanos: duration.subsec_nanos().cast_signed() }
}

/// Reads a time that must be there.
pub(crate) fn duration_from_proto(
    field: &str,
    duration: Option<prost_types::Duration>,
) -> Result<Duration, InvalidMessage> {
    optional_from_proto(field, duration)?.ok_or_else(|| InvalidMessage::new(field, "it is missing"))
}

/// Reads a time that may be left out.
pub(crate) fn optional_from_proto(
    field: &str,
    duration: Option<prost_types::Duration>,
) -> Result<Option<Duration>, InvalidMessage> {
    duration.map(Duration::try_from).transpose().map_err(|_| InvalidMessage::new(field, "it is negative"))
}
