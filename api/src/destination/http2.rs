//! `Http2ClientParams`: zero stands for "as configured", so none of it can be wrong.

use crate::duration::{duration_from_proto, duration_to_proto};
use linkerd2_proxy_api::destination::{Http2ClientParams, http2_client_params as pb};
use outrigger_model::{Http2KeepAlive, Http2Params};

pub(super) fn http2_to_proto(params: &Http2Params) -> Http2ClientParams {
    let set = Option::unwrap_or_default;
    let flow_control = pb::FlowControl {
        initial_connection_window_size: set(params.connection_window),
        initial_stream_window_size: set(params.stream_window),
        adaptive_flow_control: params.adaptive_window,
    };
    let internals = pb::Internals {
        max_concurrent_reset_streams: set(params.max_concurrent_reset_streams),
        max_frame_size: set(params.max_frame_size),
        max_send_buf_size: set(params.max_send_buffer),
    };
    let keep_alive = params.keep_alive.map(|pings| pb::KeepAlive {
        interval: Some(duration_to_proto(pings.interval)),
        timeout: Some(duration_to_proto(pings.timeout)),
        while_idle: pings.while_idle,
    });
    Http2ClientParams {
        flow_control: Some(flow_control).filter(|flow| *flow != pb::FlowControl::default()),
        keep_alive,
        internals: Some(internals).filter(|internals| *internals != pb::Internals::default()),
    }
}

/// Pings without an interval or a timeout are none.
pub(super) fn http2_from_proto(message: Http2ClientParams) -> Http2Params {
    let set = |size: u32| (size != 0).then_some(size);
    let (flow, internals) = (message.flow_control.unwrap_or_default(), message.internals.unwrap_or_default());
    let keep_alive = message.keep_alive.and_then(|pings| {
        Some(Http2KeepAlive {
            interval: duration_from_proto("interval", pings.interval).ok()?,
            timeout: duration_from_proto("timeout", pings.timeout).ok()?,
            while_idle: pings.while_idle,
        })
    });
    Http2Params {
        connection_window: set(flow.initial_connection_window_size),
        stream_window: set(flow.initial_stream_window_size),
        adaptive_window: flow.adaptive_flow_control,
        keep_alive,
        max_concurrent_reset_streams: set(internals.max_concurrent_reset_streams),
        max_frame_size: set(internals.max_frame_size),
        max_send_buffer: set(internals.max_send_buf_size),
    }
}
