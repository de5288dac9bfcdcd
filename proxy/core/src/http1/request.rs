//! A request's head.

use super::{Fields, Framing, Hop, Invalid, bare_lf, hop, parse_error, put, stays_here, unfinished};
use crate::filter::modified;
use crate::route::Head;
use httparse::{Header, Status};
use outrigger_model::HeaderModifier;

/// A request's head, borrowed from the bytes it was read from.
pub struct Request<'h, 'b> {
    pub method: &'b str,
    /// As it stands in the request line, query included.
    pub target: &'b str,
    pub fields: &'h [Header<'b>],
    /// Bytes of the head, empty line included.
    pub length: usize,
    pub framing: Framing,
    minor: u8,
    hop: Hop<'b>,
}

/// What the head that goes on has more than the one that came.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestRewrite<'a> {
    /// The client's identity, for the application (`l5d-client-id`).
    pub client_id: Option<&'a str>,
    /// Header changes of the route's filters.
    pub changes: &'a [HeaderModifier],
}

impl<'h, 'b> Request<'h, 'b> {
    /// Reads a head from the front of `bytes`; `None` while it is incomplete.
    pub fn parse(bytes: &'b [u8], room: &'h mut Fields<'b>) -> Result<Option<Self>, Invalid> {
        let mut parsed = httparse::Request::new(&mut []);
        let length = match parsed.parse_with_uninit_headers(bytes, room).map_err(parse_error)? {
            Status::Complete(length) => length,
            Status::Partial => return unfinished(bytes),
        };
        let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
            return Err(Invalid::Head);
        };
        if length > super::MAX_HEAD {
            return Err(Invalid::TooLarge);
        }
        if bare_lf(&bytes[..length]) {
            return Err(Invalid::BareLf);
        }
        let fields: &'h [Header<'b>] = parsed.headers;
        let hop = hop(fields, minor)?;
        check_host(fields, minor)?;
        check_target(method, target)?;
        let framing = hop.framing.unwrap_or(Framing::None);
        Ok(Some(Self { method, target, fields, length, framing, minor, hop }))
    }

    /// Whether the client will send another request on the connection (RFC 9112 §9.3).
    pub fn keep_alive(&self) -> bool {
        !self.hop.close && (self.minor == 1 || self.hop.keep_alive)
    }

    /// Whether the client speaks HTTP/1.0.
    pub fn is_http10(&self) -> bool {
        self.minor == 0
    }

    /// The protocol that the client asks to change to. `h2c` is never granted (A.1.8, RFC 9113 §3.1).
    pub fn upgrade(&self) -> Option<&'b [u8]> {
        let value = self.hop.upgrade.filter(|_| self.hop.upgrade_named && self.framing == Framing::None)?;
        let names_h2c = value.split(|&b| b == b',').any(|name| name.trim_ascii().eq_ignore_ascii_case(b"h2c"));
        (!names_h2c && self.minor == 1).then_some(value)
    }

    /// Whether sending the request twice does no harm (RFC 9110 §9.2.2) and needs no body again.
    pub fn repeatable(&self) -> bool {
        self.framing == Framing::None && matches!(self.method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE" | "TRACE")
    }

    /// Writes the head that goes on; `out` is cleared first.
    pub fn write(&self, out: &mut Vec<u8>, rewrite: RequestRewrite<'_>) {
        out.clear();
        for part in [self.method, " ", self.target, if self.minor == 1 { " HTTP/1.1\r\n" } else { " HTTP/1.0\r\n" }] {
            out.extend_from_slice(part.as_bytes());
        }
        let upgrade = self.upgrade();
        let settings = |name: &str| name.len() == 14 && name.eq_ignore_ascii_case("http2-settings");
        let goes_on = |field: &&Header<'_>| !stays_here(field.name, &self.hop.nominated) && !settings(field.name);
        let fields = self.fields.iter().filter(goes_on).map(|field| (field.name, field.value));
        if rewrite.changes.is_empty() {
            fields.for_each(|(name, value)| put(out, name, value));
        } else {
            modified(fields, rewrite.changes).into_iter().for_each(|(name, value)| put(out, name, value));
        }
        if let Some(protocol) = upgrade {
            put(out, "connection", b"upgrade");
            put(out, "upgrade", protocol);
        }
        if let Some(id) = rewrite.client_id {
            put(out, "l5d-client-id", id.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
}

impl Head for Request<'_, '_> {
    fn method(&self) -> &str {
        self.method
    }

    fn scheme(&self) -> &str {
        match self.target.split_once("://") {
            Some((scheme, _)) if !scheme.contains('/') => scheme,
            _ => "http",
        }
    }

    /// Of an absolute target, else of the Host field (RFC 9112 §3.2.2).
    fn authority(&self) -> Option<&str> {
        match self.target.split_once("://") {
            Some((scheme, rest)) if !scheme.contains('/') => rest.split(['/', '?']).next(),
            _ => self.values("host").next().and_then(text),
        }
    }

    fn path(&self) -> &str {
        let origin = match self.target.split_once("://") {
            Some((scheme, rest)) if !scheme.contains('/') => rest.find(['/', '?']).map_or("/", |at| &rest[at..]),
            _ => self.target,
        };
        let path = origin.split(['?', '#']).next().unwrap_or(origin);
        if path.is_empty() { "/" } else { path }
    }

    fn required_id(&self) -> Option<&[u8]> {
        self.hop.required_id
    }

    fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }
}

fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok()
}

/// RFC 9112 §3.2: HTTP/1.1 has one Host; HTTP/1.0 at most one. Two could name two services.
fn check_host(fields: &[Header<'_>], minor: u8) -> Result<(), Invalid> {
    let hosts = fields.iter().filter(|f| f.name.len() == 4 && f.name.eq_ignore_ascii_case("host")).count();
    if hosts > 1 || (hosts == 0 && minor == 1) { Err(Invalid::Host) } else { Ok(()) }
}

/// RFC 9112 §3.2: the four forms of a target.
fn check_target(method: &str, target: &str) -> Result<(), Invalid> {
    let fits = match method {
        "CONNECT" => !target.contains('/') && target.contains(':'),
        "OPTIONS" if target == "*" => true,
        _ => target.starts_with('/') || target.split_once("://").is_some_and(|(_, rest)| !rest.is_empty()),
    };
    if fits { Ok(()) } else { Err(Invalid::Target) }
}
