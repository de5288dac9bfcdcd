//! Every reason for which a connection or request is refused. Nothing else closes one on purpose.

use std::fmt;

macro_rules! refusals {
    ($($number:literal $name:ident $label:literal $sentence:literal)*) => {
        /// A reason to refuse, with a stable number, a metric label and a sentence for the operator.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Refusal { $(#[doc = $sentence] $name),* }

        impl Refusal {
            /// Every refusal, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The number in logs, flows and documentation; never reused.
            pub const fn number(self) -> u16 { match self { $(Self::$name => $number),* } }

            /// The value of the metric label `reason`.
            pub const fn label(self) -> &'static str { match self { $(Self::$name => $label),* } }

            /// What happened and what to look at.
            pub const fn sentence(self) -> &'static str { match self { $(Self::$name => $sentence),* } }
        }
    };
}

refusals! {
    // Accepting
    101 NoOriginalDestination "no_original_destination" "the connection has no original destination: it did not come through the redirect rules"
    102 Loop "loop" "the connection's target is the proxy's own port"
    103 AddressNotOurs "address_not_ours" "the original destination is not one of this workload's addresses (LINKERD2_PROXY_INBOUND_IPS)"
    104 Draining "draining" "the proxy is draining and takes no new work"
    105 Overloaded "overloaded" "the proxy holds as many connections or requests as it may"
    106 LoopbackTarget "loopback_target" "the outbound proxy does not connect to loopback addresses"
    // Identity, ours and the client's
    201 NoSvid "no_svid" "this workload has no valid SVID: the Workload API has sent none, or the last one expired"
    202 TlsDetectTimeout "tls_detect_timeout" "the client sent neither a TLS ClientHello nor other bytes in time"
    203 HandshakeFailed "handshake_failed" "the TLS handshake failed"
    204 ClientCertificateRequired "client_certificate_required" "the proxy's own port takes mutually authenticated connections only"
    205 ClientCertificateExpired "client_certificate_expired" "the client's certificate is expired or not yet valid"
    206 ClientTrustDomainUnknown "client_trust_domain_unknown" "no trust bundle is known for the trust domain of the client's certificate"
    207 ClientCertificateUntrusted "client_certificate_untrusted" "the client's certificate is not signed by its trust domain's bundle"
    208 ClientNamesInvalid "client_names_invalid" "the client's certificate does not name exactly one identity"
    209 TransportHeaderNotNegotiated "transport_header_not_negotiated" "the client did not offer transport.l5d.io/v1 on the proxy's own port"
    210 TransportHeaderInvalid "transport_header_invalid" "the transport header is missing, late or malformed"
    211 GatewayNotServed "gateway_not_served" "the transport header names a host, and this proxy is no gateway for it"
    // Inbound policy
    301 PolicyUnknown "policy_unknown" "the policy controller has not answered for this port and no default is set"
    302 PolicyInvalid "policy_invalid" "the port's policy could not be understood"
    303 ConnectionUnauthorized "connection_unauthorized" "no authorization of the port's policy matches the client"
    304 RequestUnauthorized "request_unauthorized" "no authorization of the route or of the port's policy matches the client"
    305 NoRoute "no_route" "no route matches the request"
    306 RateLimited "rate_limited" "the client's request rate is over the limit"
    307 AuthorizationWithdrawn "authorization_withdrawn" "the authorization that admitted the connection was withdrawn"
    308 Redirected "redirected" "a filter of the route redirects the request"
    309 AnsweredByRoute "answered_by_route" "a filter of the route answers the request itself"
    // HTTP
    401 RequestInvalid "request_invalid" "the request is not valid HTTP, or its framing is ambiguous"
    402 RequestHeadTooLarge "request_head_too_large" "the request line and headers are larger than allowed"
    403 RequestTimeout "request_timeout" "the client did not finish the request's head in time"
    404 ResponseInvalid "response_invalid" "the upstream's response is not valid HTTP, or its framing is ambiguous"
    405 UpstreamClosed "upstream_closed" "the upstream closed the connection before it had answered"
    406 ProtocolNotServed "protocol_not_served" "the port's policy names a protocol that the connection does not speak"
    // Outbound
    501 DiscoveryUnavailable "discovery_unavailable" "the destination controller has not resolved the address, which is not taken for 'not meshed'"
    502 NoEndpoints "no_endpoints" "the service has no endpoints"
    503 Failfast "failfast" "no endpoint of the service has been ready for too long"
    504 EndpointIdentityUnusable "endpoint_identity_unusable" "the endpoint has an identity that cannot be asked for by name; it is never reached in plaintext"
    505 ServerIdentityMismatch "server_identity_mismatch" "the server's certificate does not carry the identity that discovery expects"
    506 ServerCertificateExpired "server_certificate_expired" "the server's certificate is expired or not yet valid"
    507 ServerCertificateUntrusted "server_certificate_untrusted" "the server's certificate is not signed by its trust domain's bundle"
    508 ConnectFailed "connect_failed" "the upstream refused the connection or cannot be reached"
    509 ConnectTimeout "connect_timeout" "the upstream did not take the connection in time"
    510 UndefinedPort "undefined_port" "the service does not declare this port"
    511 Forbidden "forbidden" "the outbound policy forbids the connection"
    512 RequiredIdentityMissing "required_identity_missing" "the endpoint is not the one that the request's l5d-require-id asks for"
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_and_labels_are_unique() {
        let numbers: BTreeSet<_> = Refusal::ALL.iter().map(|r| r.number()).collect();
        let labels: BTreeSet<_> = Refusal::ALL.iter().map(|r| r.label()).collect();
        assert_eq!((numbers.len(), labels.len()), (Refusal::ALL.len(), Refusal::ALL.len()));
    }
}
