//! `--meshed-http2-client-params`: how HTTP/2 to meshed endpoints is spoken, as JSON of `Http2ClientParams` (B.2, table).

use outrigger_model::{Http2KeepAlive, Http2Params};
use serde::Deserialize;
use std::time::Duration;

/// Zero stands for what the proxy's own configuration says, as in the message.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Raw {
    flow_control: FlowControl,
    keep_alive: Option<KeepAlive>,
    internals: Internals,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct FlowControl {
    initial_connection_window_size: u32,
    initial_stream_window_size: u32,
    adaptive_flow_control: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeepAlive {
    interval: Time,
    timeout: Time,
    #[serde(default)]
    while_idle: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Time {
    #[serde(default)]
    seconds: u64,
    #[serde(default)]
    nanos: u32,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Internals {
    max_concurrent_reset_streams: u32,
    max_frame_size: u32,
    max_send_buf_size: u32,
}

/// Reads the flag's value.
pub(crate) fn parse(text: &str) -> Result<Http2Params, String> {
    let example = r#"{"keep_alive":{"interval":{"seconds":10},"timeout":{"seconds":3},"while_idle":true}}"#;
    let raw: Raw = serde_json::from_str(text).map_err(|error| format!("{error}; write JSON such as {example}"))?;
    let set = |size: u32| (size != 0).then_some(size);
    let time = |time: &Time| Duration::from_secs(time.seconds) + Duration::from_nanos(time.nanos.into());
    Ok(Http2Params {
        connection_window: set(raw.flow_control.initial_connection_window_size),
        stream_window: set(raw.flow_control.initial_stream_window_size),
        adaptive_window: raw.flow_control.adaptive_flow_control,
        keep_alive: raw.keep_alive.map(|pings| Http2KeepAlive {
            interval: time(&pings.interval),
            timeout: time(&pings.timeout),
            while_idle: pings.while_idle,
        }),
        max_concurrent_reset_streams: set(raw.internals.max_concurrent_reset_streams),
        max_frame_size: set(raw.internals.max_frame_size),
        max_send_buffer: set(raw.internals.max_send_buf_size),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b_2_http2_parameters_have_the_charts_form() {
        let chart = r#"{"keep_alive":{"interval":{"seconds":10},"timeout":{"seconds":3},"while_idle":true}}"#;
        let (interval, timeout) = (Duration::from_secs(10), Duration::from_secs(3));
        let keep_alive = Some(Http2KeepAlive { interval, timeout, while_idle: true });
        assert_eq!(parse(chart), Ok(Http2Params { keep_alive, ..Http2Params::default() }));
        let sizes = r#"{"flow_control":{"initial_stream_window_size":65535},"internals":{"max_frame_size":16384}}"#;
        let sizes = parse(sizes).unwrap();
        assert_eq!(
            (sizes.stream_window, sizes.connection_window, sizes.max_frame_size),
            (Some(65535), None, Some(16384))
        );
        for wrong in ["", "1", r#"{"keepAlive":{}}"#, r#"{"keep_alive":{"interval":{"seconds":-1},"timeout":{}}}"#] {
            assert!(parse(wrong).unwrap_err().contains("while_idle"), "{wrong}");
        }
    }
}
