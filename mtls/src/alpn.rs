//! The application protocol that tells a proxy's own connections from an application's.

/// What to offer or accept as application protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    /// No ALPN extension.
    None,
    /// Exactly `transport.l5d.io/v1` (reference A.1.3).
    TransportHeader,
}

pub(crate) const TRANSPORT_HEADER: &[u8] = b"transport.l5d.io/v1";

impl Alpn {
    pub(crate) fn protocols(self) -> Vec<Vec<u8>> {
        match self {
            Self::None => vec![],
            Self::TransportHeader => vec![TRANSPORT_HEADER.to_vec()],
        }
    }
}
