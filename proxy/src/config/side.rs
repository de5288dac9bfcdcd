//! What both directions have.

use crate::env::Environment;
use outrigger_proxy_core::balance::Backoff;
use std::time::Duration;

/// One direction's sockets, timeouts and limits.
#[derive(Debug, Clone)]
pub struct Side {
    /// Connections that may wait to be accepted.
    pub backlog: u32,
    pub detect_timeout: Duration,
    pub connect_timeout: Duration,
    pub backoff: Backoff,
    pub accepted: SocketOptions,
    pub connected: SocketOptions,
    /// How long an unused HTTP/1 connection is kept.
    pub pool_idle: Duration,
    /// How many unused HTTP/1 connections are kept per endpoint.
    pub pool_size: usize,
    /// Requests, and connections, at one time.
    pub max_in_flight: usize,
    pub http2: Http2Server,
}

/// Options of a TCP socket, besides TCP_NODELAY.
#[derive(Debug, Clone, Copy, Default)]
pub struct SocketOptions {
    pub keepalive: Option<Duration>,
    pub user_timeout: Option<Duration>,
}

/// What may wait for a ready endpoint, and how long.
#[derive(Debug, Clone, Copy)]
pub struct Queue {
    pub capacity: usize,
    pub failfast: Duration,
}

/// How HTTP/2 is served; limits towards a client that means harm.
#[derive(Debug, Clone)]
pub struct Http2Server {
    pub max_concurrent_streams: u32,
    /// In bytes.
    pub max_frame_size: u32,
    /// In bytes.
    pub max_header_list_size: u32,
    pub max_pending_accept_reset_streams: usize,
    /// In bytes, of one stream.
    pub max_send_buf_size: usize,
    pub keep_alive_interval: Duration,
    pub keep_alive_timeout: Duration,
    pub windows: Windows,
}

/// HTTP/2 flow control, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Windows {
    /// By what the connection carries.
    Adaptive,
    Fixed {
        stream: u32,
        connection: u32,
    },
}

/// RFC 9113 §6.5.2.
const FRAME_SIZES: std::ops::RangeInclusive<u32> = 16_384..=16_777_215;
const LARGEST_WINDOW: u32 = (1 << 31) - 1;

impl Side {
    /// `direction` is `INBOUND` or `OUTBOUND`.
    pub(super) fn read(env: &mut Environment<'_>, direction: &str) -> Self {
        let name = |what: &str| format!("{direction}_{what}");
        let socket = |env: &mut Environment<'_>, which: &str| SocketOptions {
            keepalive: env.optional(&name(&format!("{which}_KEEPALIVE"))),
            user_timeout: env.optional(&name(&format!("{which}_USER_TIMEOUT"))),
        };
        // The inbound name lacks its direction (A.6).
        let pool_size =
            if direction == "INBOUND" { "MAX_IDLE_CONNS_PER_ENDPOINT" } else { "OUTBOUND_MAX_IDLE_CONNS_PER_ENDPOINT" };
        Self {
            backlog: env.value(&name("TCP_LISTEN_BACKLOG")),
            detect_timeout: env.value(&name("DETECT_TIMEOUT")),
            connect_timeout: env.value(&name("CONNECT_TIMEOUT")),
            backoff: backoff(env, &name("CONNECT_EXP_BACKOFF")),
            accepted: socket(env, "ACCEPT"),
            connected: socket(env, "CONNECT"),
            pool_idle: env.value(&name("HTTP1_CONNECTION_POOL_IDLE_TIMEOUT")),
            pool_size: env.value(pool_size),
            max_in_flight: env.value(&name("MAX_IN_FLIGHT")),
            http2: Http2Server::read(env, &name("SERVER_HTTP2")),
        }
    }
}

fn backoff(env: &mut Environment<'_>, name: &str) -> Backoff {
    let [min_name, max_name] = ["MIN", "MAX"].map(|end| format!("{name}_{end}"));
    if env.has(&min_name) != env.has(&max_name) {
        env.mistake(&min_name, format_args!("must be set together with {max_name}"));
    }
    let (min, max): (Duration, Duration) = (env.value(&min_name), env.value(&max_name));
    if min > max || min.is_zero() {
        env.mistake(&min_name, format_args!("must be above zero and at most {max_name}"));
    }
    Backoff { min, max, jitter: env.value(&format!("{name}_JITTER")) }
}

impl Queue {
    pub(super) fn read(env: &mut Environment<'_>, name: &str) -> Self {
        Self {
            capacity: env.value(&format!("{name}_QUEUE_CAPACITY")),
            failfast: env.value(&format!("{name}_FAILFAST_TIMEOUT")),
        }
    }
}

impl Http2Server {
    fn read(env: &mut Environment<'_>, prefix: &str) -> Self {
        let name = |what: &str| format!("{prefix}_{what}");
        let max_frame_size = env.value(&name("MAX_FRAME_SIZE"));
        if !FRAME_SIZES.contains(&max_frame_size) {
            env.mistake(&name("MAX_FRAME_SIZE"), format_args!("{max_frame_size} is not between 16384 and 16777215"));
        }
        let adaptive: bool = env.value(&name("ADAPTIVE_FLOW_CONTROL"));
        let fixed = Windows::read(env, prefix);
        Self {
            max_concurrent_streams: env.value(&name("MAX_CONCURRENT_STREAMS")),
            max_frame_size,
            max_header_list_size: env.value(&name("MAX_HEADER_LIST_SIZE")),
            max_pending_accept_reset_streams: env.value(&name("MAX_PENDING_ACCEPT_RESET_STREAMS")),
            max_send_buf_size: env.value::<u32>(&name("MAX_SEND_BUF_SIZE")) as usize,
            keep_alive_interval: env.value(&name("KEEP_ALIVE_INTERVAL")),
            keep_alive_timeout: env.value(&name("KEEP_ALIVE_TIMEOUT")),
            windows: if adaptive { Windows::Adaptive } else { fixed },
        }
    }
}

impl Windows {
    /// `prefix` stands before `_INITIAL_…_WINDOW_SIZE`.
    pub(super) fn read(env: &mut Environment<'_>, prefix: &str) -> Self {
        let mut window = |of: &str| {
            let name = format!("{prefix}_INITIAL_{of}_WINDOW_SIZE");
            let size = env.value(&name);
            if size > LARGEST_WINDOW {
                env.mistake(&name, format_args!("{size} is above {LARGEST_WINDOW}"));
            }
            size
        };
        Self::Fixed { stream: window("STREAM"), connection: window("CONNECTION") }
    }
}
