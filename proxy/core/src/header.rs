//! The transport header: which port, name and HTTP version a connection to a proxy's own port is for (A.1.4).

use outrigger_model::DnsName;
use prost::Message;
use std::num::NonZeroU16;
use thiserror::Error;

/// Before the message: what tells a header from bytes of an application.
pub const PREFACE: &[u8] = b"transport.l5d.io/v1\r\n\r\n";

/// A longer message is refused before it is read.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// What the client wants of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportHeader {
    pub port: NonZeroU16,
    /// The host that a gateway is asked for.
    pub name: Option<DnsName>,
    /// `None`: bytes.
    pub session: Option<Session>,
}

/// The HTTP version that the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    Http1,
    Http2,
}

/// Why bytes are no transport header.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidHeader {
    #[error("the connection does not begin with the transport header's preface")]
    NoPreface,
    #[error("the transport header is {0} bytes long; {MAX_MESSAGE} are allowed")]
    TooLong(usize),
    #[error("the transport header is no protobuf message: {0}")]
    Message(String),
    #[error("the transport header's port is {0}; 1 to 65535 are allowed")]
    Port(i32),
    #[error("the transport header's name is no DNS name: {0}")]
    Name(String),
}

#[derive(Clone, PartialEq, Message)]
struct WireHeader {
    #[prost(int32, tag = "1")]
    port: i32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, optional, tag = "3")]
    session_protocol: Option<WireSession>,
}

#[derive(Clone, PartialEq, Message)]
struct WireSession {
    #[prost(oneof = "WireKind", tags = "1, 2")]
    kind: Option<WireKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum WireKind {
    #[prost(message, tag = "1")]
    Http1(WireEmpty),
    #[prost(message, tag = "2")]
    Http2(WireEmpty),
}

#[derive(Clone, PartialEq, Message)]
struct WireEmpty {}

impl TransportHeader {
    /// Preface, length and message, as they go on the wire.
    pub fn encode(&self) -> Vec<u8> {
        let kind = self.session.map(|session| match session {
            Session::Http1 => WireKind::Http1(WireEmpty {}),
            Session::Http2 => WireKind::Http2(WireEmpty {}),
        });
        let message = WireHeader {
            port: self.port.get().into(),
            name: self.name.as_ref().map(|name| name.as_str().to_owned()).unwrap_or_default(),
            session_protocol: kind.map(|kind| WireSession { kind: Some(kind) }),
        };
        let mut bytes = PREFACE.to_vec();
        bytes.extend((message.encoded_len() as u32).to_be_bytes());
        bytes.extend(message.encode_to_vec());
        bytes
    }

    /// Reads a header from the front of `bytes`: the header and its length, or `None` while it is incomplete.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, InvalidHeader> {
        let common = bytes.len().min(PREFACE.len());
        if bytes[..common] != PREFACE[..common] {
            return Err(InvalidHeader::NoPreface);
        }
        let Some((length, rest)) = bytes.get(PREFACE.len()..).and_then(|rest| rest.split_first_chunk::<4>()) else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        if length > MAX_MESSAGE {
            return Err(InvalidHeader::TooLong(length));
        }
        let Some(message) = rest.get(..length) else { return Ok(None) };
        let message = WireHeader::decode(message).map_err(|e| InvalidHeader::Message(e.to_string()))?;
        Ok(Some((Self::from_wire(message)?, PREFACE.len() + 4 + length)))
    }

    fn from_wire(wire: WireHeader) -> Result<Self, InvalidHeader> {
        let port = u16::try_from(wire.port).ok().and_then(NonZeroU16::new).ok_or(InvalidHeader::Port(wire.port))?;
        let name = match wire.name.as_str() {
            "" => None,
            name => Some(name.parse().map_err(|e: outrigger_model::InvalidName| InvalidHeader::Name(e.to_string()))?),
        };
        // A session kind that a later version adds decodes as no kind: bytes (A.1.4).
        let session = wire.session_protocol.and_then(|session| session.kind).map(|kind| match kind {
            WireKind::Http1(_) => Session::Http1,
            WireKind::Http2(_) => Session::Http2,
        });
        Ok(Self { port, name, session })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(port: u16, name: Option<&str>, session: Option<Session>) -> TransportHeader {
        TransportHeader { port: NonZeroU16::new(port).unwrap(), name: name.map(|n| n.parse().unwrap()), session }
    }

    #[test]
    fn a_1_4_golden_bytes() {
        let cases: &[(TransportHeader, &[u8])] = &[
            (header(80, None, None), b"\x00\x00\x00\x02\x08\x50"),
            (header(4143, None, Some(Session::Http1)), b"\x00\x00\x00\x07\x08\xaf\x20\x1a\x02\x0a\x00"),
            (header(65535, None, Some(Session::Http2)), b"\x00\x00\x00\x08\x08\xff\xff\x03\x1a\x02\x12\x00"),
            (header(80, Some("a.b"), None), b"\x00\x00\x00\x07\x08\x50\x12\x03a.b"),
        ];
        for (header, bytes) in cases {
            let wire = [b"transport.l5d.io/v1\r\n\r\n", *bytes].concat();
            assert_eq!(header.encode(), wire, "{header:?}");
            assert_eq!(TransportHeader::decode(&wire), Ok(Some((header.clone(), wire.len()))));
        }
    }

    #[test]
    fn a_1_4_what_is_no_header_is_refused() {
        let message = |bytes: &[u8]| [PREFACE, &(bytes.len() as u32).to_be_bytes(), bytes].concat();
        for (bytes, refused) in [
            (b"GET / HTTP/1.1\r\n".to_vec(), InvalidHeader::NoPreface),
            ([PREFACE, &[0, 1, 0, 1]].concat(), InvalidHeader::TooLong(65537)),
            (message(b""), InvalidHeader::Port(0)),
            (message(b"\x08\x80\x80\x04"), InvalidHeader::Port(65536)),
        ] {
            assert_eq!(TransportHeader::decode(&bytes), Err(refused));
        }
        assert!(matches!(TransportHeader::decode(&message(b"\x08\x50\x12\x01*")), Err(InvalidHeader::Name(_))));
        assert!(matches!(TransportHeader::decode(&message(b"\xff")), Err(InvalidHeader::Message(_))));
        let unknown_session = message(b"\x08\x50\x1a\x02\x1a\x00");
        assert_eq!(TransportHeader::decode(&unknown_session).unwrap().unwrap().0, header(80, None, None));
    }

    proptest! {
        #[test]
        fn a_1_4_any_prefix_waits_and_the_whole_round_trips(port in 1u16.., which in 0usize..3, body in any::<Vec<u8>>()) {
            let session = [None, Some(Session::Http1), Some(Session::Http2)][which];
            let header = header(port, (which == 1).then_some("svc.ns"), session);
            let wire = header.encode();
            for n in 0..wire.len() {
                prop_assert_eq!(TransportHeader::decode(&wire[..n]), Ok(None));
            }
            let followed = [wire.as_slice(), &body].concat();
            prop_assert_eq!(TransportHeader::decode(&followed), Ok(Some((header, wire.len()))));
        }
    }
}
