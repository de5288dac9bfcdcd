//! A response's head, and the responses that a proxy gives itself.

use super::{Fields, Framing, Hop, Invalid, bare_lf, frames, hop, parse_error, put, stays_here, unfinished};
use crate::reply::{Audience, Reply};
use httparse::{Header, Status};

/// A response's head, borrowed from the bytes it was read from.
pub struct Response<'h, 'b> {
    pub status: u16,
    pub fields: &'h [Header<'b>],
    /// Bytes of the head, empty line included.
    pub length: usize,
    pub framing: Framing,
    reason: &'b str,
    minor: u8,
    hop: Hop<'b>,
    /// It never has a body, nor says how long one would be: 1xx, 204, what grants a CONNECT (RFC 9110 §8.6, §9.3.6).
    lengthless: bool,
}

/// What the head that goes on says of the connection it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseRewrite {
    KeepAlive,
    /// An HTTP/1.0 client must be told (RFC 9112 appendix C.2.2).
    KeepAlive10,
    Close,
}

impl<'h, 'b> Response<'h, 'b> {
    /// Reads a head from the front of `bytes`; `None` while it is incomplete. `method` is the request's.
    pub fn parse(bytes: &'b [u8], room: &'h mut Fields<'b>, method: Method) -> Result<Option<Self>, Invalid> {
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let parsing = config.parse_response_with_uninit_headers(&mut parsed, bytes, room);
        let length = match parsing.map_err(parse_error)? {
            Status::Complete(length) => length,
            Status::Partial => return unfinished(bytes),
        };
        let (Some(status), Some(minor)) = (parsed.code, parsed.version) else { return Err(Invalid::Head) };
        if length > super::MAX_HEAD {
            return Err(Invalid::TooLarge);
        }
        if bare_lf(&bytes[..length]) {
            return Err(Invalid::BareLf);
        }
        let fields: &'h [Header<'b>] = parsed.headers;
        let hop = hop(fields, minor)?;
        // RFC 9112 §6.3: these have no body, whatever their fields say.
        let bodiless = method == Method::Head || status < 200 || status == 204 || status == 304;
        let tunnel = method == Method::Connect && (200..300).contains(&status);
        let framing = if bodiless || tunnel { Framing::None } else { hop.framing.unwrap_or(Framing::Close) };
        let lengthless = tunnel || status < 200 || status == 204;
        let reason = parsed.reason.unwrap_or("");
        Ok(Some(Self { status, fields, length, framing, reason, minor, hop, lengthless }))
    }

    /// A 1xx that another response follows.
    pub fn interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    /// Whether the upstream will answer another request on the connection.
    pub fn keep_alive(&self) -> bool {
        self.framing != Framing::Close && !self.hop.close && (self.minor == 1 || self.hop.keep_alive)
    }

    /// Why the peer's proxy answered instead of its application (A.1.9).
    pub fn proxy_error(&self) -> Option<&'b [u8]> {
        self.hop.proxy_error
    }

    /// Whether the peer's proxy says that the application's connection had better end (A.1.9).
    pub fn tears_down(&self) -> bool {
        self.hop.tears_down
    }

    /// Writes the head that goes on; `out` is cleared first.
    pub fn write(&self, out: &mut Vec<u8>, rewrite: ResponseRewrite) {
        out.clear();
        status_line(out, self.status, self.reason);
        for field in self.fields {
            let means_nothing = self.lengthless && frames(field.name);
            if !means_nothing && !stays_here(field.name, &self.hop.nominated) {
                put(out, field.name, field.value);
            }
        }
        if self.status == 101 {
            put(out, "connection", b"upgrade");
            put(out, "upgrade", self.hop.upgrade.unwrap_or_default());
        } else if !self.interim() {
            match rewrite {
                ResponseRewrite::KeepAlive => {}
                ResponseRewrite::KeepAlive10 => put(out, "connection", b"keep-alive"),
                ResponseRewrite::Close => put(out, "connection", b"close"),
            }
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// What of the request's method a response's framing depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Head,
    Connect,
    Other,
}

impl From<&str> for Method {
    fn from(name: &str) -> Self {
        match name {
            "HEAD" => Self::Head,
            "CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }
}

/// Writes the proxy's own answer to a refused request; `out` is cleared first. `close`: this connection ends with it.
pub fn refuse(out: &mut Vec<u8>, reply: &Reply<'_>, audience: Audience, close: bool) {
    out.clear();
    status_line(out, reply.status, reason(reply.status));
    put(out, "content-length", b"0");
    if let Some(location) = reply.location {
        put(out, "location", location.as_bytes());
    }
    if audience.is_told_why() {
        put(out, "l5d-proxy-error", reply.message.as_bytes());
    }
    if audience.is_told_to_close(reply) {
        put(out, "l5d-proxy-connection", b"close");
    }
    if close {
        put(out, "connection", b"close");
    }
    out.extend_from_slice(b"\r\n");
}

fn status_line(out: &mut Vec<u8>, status: u16, reason: &str) {
    let digit = |n: u16| b'0' + (n % 10) as u8;
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&[digit(status / 100), digit(status / 10), digit(status), b' ']);
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// For people only; it may be empty (RFC 9112 §4).
fn reason(status: u16) -> &'static str {
    match status {
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        408 => "Request Timeout",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "",
    }
}
