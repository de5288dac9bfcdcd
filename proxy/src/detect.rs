//! Waiting for the first bytes of a connection until `outrigger-proxy-core` can judge them.

use crate::link::Link;
use crate::refused::Refused;
use outrigger_model::Refusal;
use outrigger_proxy_core::detect::{Hello, Http, client_hello, http};
use outrigger_proxy_core::header::TransportHeader;
use std::time::Duration;
use tokio::time::timeout;

/// Whether the client begins a TLS handshake, and for which name. Nothing is consumed.
pub(crate) async fn tls(client: &mut Link, within: Duration) -> Result<Hello, Refused> {
    let verdict = async {
        loop {
            match client_hello(client.inbox.data()) {
                Hello::NeedMore if ended(client).await => return Hello::NotTls,
                Hello::NeedMore => {}
                decided => return decided,
            }
        }
    };
    timeout(within, verdict).await.map_err(|_| Refusal::TlsDetectTimeout.into())
}

/// Which HTTP the client speaks. Silence, and an end without a decision, mean bytes (A.1.5).
pub(crate) async fn protocol(client: &mut Link, within: Duration) -> Http {
    let verdict = async {
        loop {
            match http(client.inbox.data()) {
                Http::NeedMore if ended(client).await => return Http::Unknown,
                Http::NeedMore => {}
                decided => return decided,
            }
        }
    };
    timeout(within, verdict).await.unwrap_or(Http::Unknown)
}

/// Reads the transport header that a client sends first on a proxy's own port (A.1.3).
pub(crate) async fn header(client: &mut Link, within: Duration) -> Result<TransportHeader, Refused> {
    let invalid = |detail: &dyn std::fmt::Display| Refused::new(Refusal::TransportHeaderInvalid, detail);
    let read = async {
        loop {
            if let Some((header, length)) = TransportHeader::decode(client.inbox.data()).map_err(|e| invalid(&e))? {
                client.inbox.consume(length);
                return Ok(header);
            }
            if ended(client).await {
                return Err(invalid(&"the connection ended before the header did"));
            }
        }
    };
    timeout(within, read).await.unwrap_or_else(|elapsed| Err(invalid(&elapsed)))
}

async fn ended(client: &mut Link) -> bool {
    !matches!(client.fill().await, Ok(1..))
}
