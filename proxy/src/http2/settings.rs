//! HTTP/2's settings, as the environment gives them.

use crate::config::{Http2Server, Windows};
use crate::http2_client::Local;
use hyper::server;
use hyper_util::rt::TokioTimer;

/// For a client's connections.
pub(crate) fn server(of: &Http2Server) -> server::conn::http2::Builder<Local> {
    let mut builder = server::conn::http2::Builder::new(Local);
    builder
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(of.max_concurrent_streams)
        .max_frame_size(of.max_frame_size)
        .max_header_list_size(of.max_header_list_size)
        .max_pending_accept_reset_streams(of.max_pending_accept_reset_streams)
        .max_send_buf_size(of.max_send_buf_size)
        .keep_alive_interval(of.keep_alive_interval)
        .keep_alive_timeout(of.keep_alive_timeout);
    match of.windows {
        Windows::Adaptive => builder.adaptive_window(true),
        Windows::Fixed { stream, connection } => {
            builder.initial_stream_window_size(stream).initial_connection_window_size(connection)
        }
    };
    builder
}
