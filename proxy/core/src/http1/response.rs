//! A response's head, and the responses that a proxy gives itself.

use super::{Fields, Framing, Hop, Invalid, bare_lf, hop, parse_error, put, stays_here, unfinished};
use httparse::{Header, Status};
use outrigger_model::Refusal;

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
        Ok(Some(Self { status, fields, length, framing, reason: parsed.reason.unwrap_or(""), minor, hop }))
    }

    /// A 1xx that another response follows.
    pub fn interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    /// Whether the upstream will answer another request on the connection.
    pub fn keep_alive(&self) -> bool {
        self.framing != Framing::Close && !self.hop.close && (self.minor == 1 || self.hop.keep_alive)
    }

    /// Writes the head that goes on; `out` is cleared first.
    pub fn write(&self, out: &mut Vec<u8>, rewrite: ResponseRewrite) {
        out.clear();
        status_line(out, self.status, self.reason);
        for field in self.fields {
            if !stays_here(field.name, &self.hop.nominated) {
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

/// Writes the proxy's own answer to a refused request (A.1.10); `out` is cleared first. `explain` adds
/// `l5d-proxy-error`, which only meshed peers and our own application may see.
pub fn refuse(out: &mut Vec<u8>, refusal: Refusal, explain: bool, close: bool) {
    let (status, reason) = status(refusal);
    out.clear();
    status_line(out, status, reason);
    put(out, "content-length", b"0");
    if explain {
        put(out, "l5d-proxy-error", refusal.sentence().as_bytes());
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

/// The status of a refused request (A.1.10).
pub fn status(refusal: Refusal) -> (u16, &'static str) {
    use Refusal as R;
    match refusal {
        R::ConnectionUnauthorized | R::RequestUnauthorized | R::AuthorizationWithdrawn => (403, "Forbidden"),
        R::PolicyUnknown | R::AddressNotOurs | R::GatewayNotServed => (403, "Forbidden"),
        R::NoRoute => (404, "Not Found"),
        R::RateLimited => (429, "Too Many Requests"),
        R::RequestInvalid | R::ProtocolNotServed => (400, "Bad Request"),
        R::RequestHeadTooLarge => (431, "Request Header Fields Too Large"),
        R::RequestTimeout => (408, "Request Timeout"),
        R::PolicyInvalid => (500, "Internal Server Error"),
        R::ConnectTimeout | R::Failfast | R::DiscoveryUnavailable => (504, "Gateway Timeout"),
        R::Draining | R::Overloaded | R::NoEndpoints => (503, "Service Unavailable"),
        _ => (502, "Bad Gateway"),
    }
}

/// The gRPC status of a refused request (A.1.10).
pub fn grpc_status(refusal: Refusal) -> u16 {
    match status(refusal).0 {
        400 | 431 => 3,
        403 => 7,
        404 => 5,
        408 | 504 => 4,
        429 => 8,
        500 => 13,
        _ => 14,
    }
}
