//! HTTP/1 as a forwarder needs it: read a head, decide how its body is framed, write the head that goes on.
//!
//! Bodies pass as they are, so whatever another parser could frame differently is refused here (RFC 9112 §6, §11.2):
//! bare LF, obs-fold, repeated or contradicting lengths, transfer codings other than one `chunked`.

mod body;
mod request;
mod response;

pub use body::Body;
pub use request::{Request, RequestRewrite};
pub use response::{Method, Response, ResponseRewrite, refuse};

use httparse::Header;
use std::mem::MaybeUninit;
use thiserror::Error;

/// A head, request line included, may be as long as this.
pub const MAX_HEAD: usize = 64 * 1024;

/// A head may have as many fields as this.
pub const MAX_FIELDS: usize = 128;

/// Room for the fields of one head; reused, never cleared.
pub type Fields<'b> = [MaybeUninit<Header<'b>>; MAX_FIELDS];

/// Adds a field to a head that was written before.
pub fn append(head: &mut Vec<u8>, name: &str, value: &str) {
    head.truncate(head.len().saturating_sub(2));
    put(head, name, value.as_bytes());
    head.extend_from_slice(b"\r\n");
}

/// An uninitialised [`Fields`].
pub const fn fields<'b>() -> Fields<'b> {
    [const { MaybeUninit::uninit() }; MAX_FIELDS]
}

/// Why a head or body is not forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Invalid {
    #[error("the head is not valid HTTP/1")]
    Head,
    #[error("the head is longer than {MAX_HEAD} bytes or has more than {MAX_FIELDS} fields")]
    TooLarge,
    #[error("a line of the head ends in a bare LF")]
    BareLf,
    #[error("the length of the body is repeated, contradicted or not a number")]
    Length,
    #[error("the transfer coding is not exactly one chunked, or stands beside a length or in HTTP/1.0")]
    TransferCoding,
    #[error("an HTTP/1.1 request has exactly one Host field")]
    Host,
    #[error("the request target does not fit the method")]
    Target,
    #[error("the chunked body is malformed")]
    Chunk,
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(u64),
    Chunked,
    /// When the sender closes; responses only.
    Close,
}

/// What the fields that concern only this hop say.
struct Hop<'b> {
    framing: Option<Framing>,
    close: bool,
    keep_alive: bool,
    upgrade_named: bool,
    upgrade: Option<&'b [u8]>,
    /// Fields that `Connection` nominates; nearly always empty.
    nominated: Vec<&'b [u8]>,
    /// `l5d-proxy-error`, `l5d-proxy-connection: close` and `l5d-require-id`.
    proxy_error: Option<&'b [u8]>,
    tears_down: bool,
    required_id: Option<&'b [u8]>,
}

/// Reads the hop-by-hop fields; refuses what could be framed in two ways.
fn hop<'b>(fields: &[Header<'b>], minor: u8) -> Result<Hop<'b>, Invalid> {
    let mut hop = Hop {
        framing: None,
        close: false,
        keep_alive: false,
        upgrade_named: false,
        upgrade: None,
        nominated: Vec::new(),
        proxy_error: None,
        tears_down: false,
        required_id: None,
    };
    for field in fields {
        match field.name.len() {
            7 if field.name.eq_ignore_ascii_case("upgrade") => hop.upgrade = Some(field.value),
            10 if field.name.eq_ignore_ascii_case("connection") => connection(field.value, &mut hop),
            14 if field.name.eq_ignore_ascii_case("l5d-require-id") => hop.required_id = Some(field.value),
            15 if field.name.eq_ignore_ascii_case("l5d-proxy-error") => hop.proxy_error = Some(field.value),
            20 if field.name.eq_ignore_ascii_case("l5d-proxy-connection") => {
                hop.tears_down = field.value.eq_ignore_ascii_case(b"close");
            }
            14 if field.name.eq_ignore_ascii_case("content-length") => match hop.framing {
                None => hop.framing = Some(Framing::Length(length(field.value)?)),
                Some(Framing::Chunked) => return Err(Invalid::TransferCoding),
                Some(_) => return Err(Invalid::Length),
            },
            17 if field.name.eq_ignore_ascii_case("transfer-encoding") => {
                if hop.framing.is_some() || minor == 0 || !field.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Invalid::TransferCoding);
                }
                hop.framing = Some(Framing::Chunked);
            }
            _ => {}
        }
    }
    Ok(hop)
}

fn connection<'b>(value: &'b [u8], hop: &mut Hop<'b>) {
    for token in value.split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(|t| !t.is_empty()) {
        if token.eq_ignore_ascii_case(b"close") {
            hop.close = true;
        } else if token.eq_ignore_ascii_case(b"keep-alive") {
            hop.keep_alive = true;
        } else if token.eq_ignore_ascii_case(b"upgrade") {
            hop.upgrade_named = true;
        } else {
            hop.nominated.push(token);
        }
    }
}

/// RFC 9110 §8.6: digits only; a sign, a list or an overflow is refused.
fn length(value: &[u8]) -> Result<u64, Invalid> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Invalid::Length);
    }
    std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok()).ok_or(Invalid::Length)
}

/// Whether the field ends at this hop (RFC 9110 §7.6.1) or is one that only a proxy may set (A.1.9).
fn stays_here(name: &str, nominated: &[&[u8]]) -> bool {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    let hop_by_hop = match name.len() {
        2 => is("te"),
        7 => is("upgrade"),
        10 => is("connection") || is("keep-alive"),
        13 => is("l5d-client-id"),
        14 => is("l5d-orig-proto") || is("l5d-require-id"),
        15 => is("l5d-proxy-error"),
        16 => is("proxy-connection"),
        17 => is("l5d-dst-canonical"),
        20 => is("l5d-proxy-connection"),
        _ => false,
    };
    // Nominating must not remove what decides how the next hop reads the message.
    let kept = || frames(name) || name.eq_ignore_ascii_case("host");
    hop_by_hop || (nominated.iter().any(|n| n.eq_ignore_ascii_case(name.as_bytes())) && !kept())
}

/// Fields that frame a body.
fn frames(name: &str) -> bool {
    ["content-length", "transfer-encoding"].iter().any(|other| name.eq_ignore_ascii_case(other))
}

fn put(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// httparse takes a bare LF for a line's end; the next hop might not.
fn bare_lf(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).any(|at| at == 0 || head[at - 1] != b'\r')
}

/// Whether a head that is still incomplete may go on growing.
fn unfinished<T>(bytes: &[u8]) -> Result<Option<T>, Invalid> {
    if bytes.len() >= MAX_HEAD { Err(Invalid::TooLarge) } else { Ok(None) }
}

fn parse_error(error: httparse::Error) -> Invalid {
    if error == httparse::Error::TooManyHeaders { Invalid::TooLarge } else { Invalid::Head }
}

#[cfg(test)]
mod tests;
