//! What the proxy answers itself (A.1.9, A.1.10).

use crate::filter::Answer;
use outrigger_model::Refusal;

/// The answer to a refused request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply<'a> {
    pub status: u16,
    pub grpc_status: u16,
    /// Why, for whoever may know.
    pub message: &'a str,
    pub location: Option<&'a str>,
    /// Nothing behind it works: the client had better connect anew.
    pub fatal: bool,
}

/// Who is answered, and so what may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Nothing but the status.
    Stranger,
    /// Our own application: also why.
    Application,
    /// A meshed peer's proxy: also why, and whether to tear its application's connection down.
    Peer,
}

impl Audience {
    /// Whether it is told why.
    pub fn is_told_why(self) -> bool {
        self != Self::Stranger
    }

    /// Whether it is told to close its application's connection (`l5d-proxy-connection: close`).
    pub fn is_told_to_close(self, reply: &Reply<'_>) -> bool {
        self == Self::Peer && reply.fatal
    }
}

impl<'a> Reply<'a> {
    /// The reply to a refusal; `answer` is the filter's that refused, if one did.
    pub fn new(refusal: Refusal, answer: Option<&'a Answer>) -> Self {
        let status = status(refusal);
        let plain = Self {
            status,
            grpc_status: grpc_status(status),
            message: refusal.sentence(),
            location: None,
            fatal: is_fatal(refusal),
        };
        match answer {
            None | Some(Answer::Invalid(_)) => plain,
            Some(Answer::Redirect { status, location }) => {
                Self { status: *status, grpc_status: 5, location: Some(location), ..plain }
            }
            Some(Answer::Fail { status, message }) => Self { status: *status, grpc_status: 9, message, ..plain },
            Some(Answer::FailGrpc { code, message }) => Self { status: 200, grpc_status: *code, message, ..plain },
        }
    }
}

/// The HTTP status of a refused request.
fn status(refusal: Refusal) -> u16 {
    use Refusal as R;
    match refusal {
        R::ConnectionUnauthorized | R::RequestUnauthorized | R::AuthorizationWithdrawn => 403,
        R::PolicyUnknown | R::AddressNotOurs | R::GatewayNotServed | R::Forbidden => 403,
        R::NoRoute => 404,
        R::RateLimited => 429,
        R::RequestInvalid | R::ProtocolNotServed => 400,
        R::RequestHeadTooLarge => 431,
        R::RequestTimeout => 408,
        R::PolicyInvalid | R::Redirected | R::AnsweredByRoute => 500,
        R::ConnectTimeout | R::Failfast | R::DiscoveryUnavailable => 504,
        R::Draining | R::Overloaded | R::NoEndpoints => 503,
        _ => 502,
    }
}

fn grpc_status(status: u16) -> u16 {
    match status {
        400 | 431 => 3,
        403 => 7,
        404 => 5,
        408 | 504 => 4,
        429 => 8,
        500 => 13,
        _ => 14,
    }
}

/// Whether the refusal is of more than this request.
fn is_fatal(refusal: Refusal) -> bool {
    use Refusal as R;
    !matches!(refusal, R::RequestUnauthorized | R::NoRoute | R::RateLimited | R::Redirected | R::AnsweredByRoute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_1_10_every_cause_has_its_status_its_grpc_status_and_its_end() {
        for (cause, status, grpc_status, fatal) in [
            (Refusal::RequestUnauthorized, 403, 7, false),
            (Refusal::NoRoute, 404, 5, false),
            (Refusal::RateLimited, 429, 8, false),
            (Refusal::Failfast, 504, 4, true),
            (Refusal::Overloaded, 503, 14, true),
            (Refusal::RequiredIdentityMissing, 502, 14, true),
            (Refusal::ServerIdentityMismatch, 502, 14, true),
            (Refusal::ConnectFailed, 502, 14, true),
            (Refusal::UpstreamClosed, 502, 14, true),
            (Refusal::ConnectTimeout, 504, 4, true),
            (Refusal::PolicyInvalid, 500, 13, true),
        ] {
            let expected = Reply { status, grpc_status, message: cause.sentence(), location: None, fatal };
            assert_eq!(Reply::new(cause, None), expected);
        }
    }

    #[test]
    fn a_1_10_filters_answer_for_themselves() {
        let redirect = Answer::Redirect { status: 307, location: "http://b/".into() };
        let reply = Reply::new(Refusal::Redirected, Some(&redirect));
        assert_eq!((reply.status, reply.grpc_status, reply.location, reply.fatal), (307, 5, Some("http://b/"), false));
        let fail = Answer::Fail { status: 418, message: "teapot".into() };
        let reply = Reply::new(Refusal::AnsweredByRoute, Some(&fail));
        assert_eq!((reply.status, reply.grpc_status, reply.message, reply.fatal), (418, 9, "teapot", false));
        let grpc = Answer::FailGrpc { code: 8, message: "full".into() };
        let reply = Reply::new(Refusal::AnsweredByRoute, Some(&grpc));
        assert_eq!((reply.status, reply.grpc_status, reply.message, reply.fatal), (200, 8, "full", false));
        let invalid = Answer::Invalid("unknown");
        let reply = Reply::new(Refusal::PolicyInvalid, Some(&invalid));
        assert_eq!((reply.status, reply.grpc_status, reply.fatal), (500, 13, true));
    }

    #[test]
    fn a_1_9_only_a_peer_is_told_to_close() {
        let (fatal, mild) = (Reply::new(Refusal::Failfast, None), Reply::new(Refusal::NoRoute, None));
        assert!(Audience::Peer.is_told_to_close(&fatal) && !Audience::Peer.is_told_to_close(&mild));
        assert!(!Audience::Application.is_told_to_close(&fatal) && !Audience::Stranger.is_told_to_close(&fatal));
        assert!(
            Audience::Peer.is_told_why() && Audience::Application.is_told_why() && !Audience::Stranger.is_told_why()
        );
    }
}
