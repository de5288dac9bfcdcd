//! What the proxy answers itself, row by row (A.1.10), and what it tells whom (A.1.9), over HTTP/1 and HTTP/2.

use super::*;
use crate::http2::tests::{application, client, request};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2::SendRequest;
use outrigger_model::{Filter, HeaderModifier, PathMatch, RateLimit, Ratio, Redirect, RouteMatch};
use std::num::NonZeroU32;

/// A policy for requests to paths below `/in`, with these filters.
fn filtered(default: DefaultPolicy, filters: Vec<Filter>, rate_limit: Option<RateLimit>) -> PortState {
    let below = RouteMatch { path: Some(PathMatch::Prefix("/in".into())), ..RouteMatch::default() };
    let route = InboundRoute {
        meta: Meta::object("policy.linkerd.io", "HTTPRoute", "ns", "route"),
        hosts: vec![],
        authorizations: Arc::default(),
        rules: vec![RouteRule { matches: vec![below], filters }],
    };
    let policy = InboundPolicy {
        meta: Meta::default_named(default.as_str()),
        protocol: InboundProtocol::Http1 { routes: [route].into() },
        authorizations: default.authorizations(&[], false),
        rate_limit,
    };
    PortState::Known(Arc::new(Policy::compile(policy).unwrap()))
}

fn one_a_second() -> RateLimit {
    let total = NonZeroU32::new(1);
    RateLimit { meta: Meta::default_named("limit"), total, identity: None, overrides: vec![] }
}

fn redirect() -> Filter {
    Filter::Redirect(Redirect { host: Some("b.example".into()), status: 307, ..Redirect::default() })
}

fn fail() -> Filter {
    Filter::Fail { status: 418, message: "teapot".into(), ratio: Ratio::ALL }
}

/// A cause, and what becomes of it: HTTP status, gRPC status, whether the connection ends.
type Row = (&'static str, PortState, u16, u16, bool);

/// Every cause that inbound policy and the application have.
fn rows() -> Vec<Row> {
    let open = DefaultPolicy::AllUnauthenticated;
    let limited = filtered(open, vec![], Some(one_a_second()));
    let PortState::Known(policy) = &limited else { panic!() };
    policy.limit(None).unwrap();
    vec![
        ("unauthorized", filtered(DefaultPolicy::Deny, vec![], None), 403, 7, false),
        ("rate limited", limited, 429, 8, false),
        ("redirect", filtered(open, vec![redirect()], None), 307, 5, false),
        ("injected failure", filtered(open, vec![fail()], None), 418, 9, false),
        ("unknown filter", filtered(open, vec![Filter::Unknown], None), 500, 13, true),
        ("invalid policy", PortState::Invalid("half a policy".into()), 500, 13, true),
        ("the application is gone", filtered(open, vec![], None), 502, 14, true),
    ]
}

async fn closed(mut rig: Rig) -> Rig {
    rig.application.close();
    rig.peer = Some(vm());
    rig
}

fn vm() -> Peer {
    Peer::from_sans(&"td".parse().unwrap(), &["spiffe://td/vm"], &[]).unwrap()
}

const IN: &str = "GET /in HTTP/1.1\r\nhost: a\r\n\r\n";

#[test]
fn a_1_10_http1_is_answered_by_status_and_kept_unless_the_cause_is_fatal() {
    run(async {
        for (cause, policy, status, _, fatal) in rows() {
            let rig = closed(Rig::new().await).await;
            rig.policies.send_replace(policy);
            let (mut client, _) = rig.connect().await;
            send(&mut client, IN).await;
            let answer = read_to(&mut client, "\r\n\r\n").await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{cause}: {answer}");
            assert!(answer.contains("\r\ncontent-length: 0\r\n") && answer.contains("l5d-proxy-error: "), "{answer}");
            assert_eq!(answer.contains("\r\nconnection: close\r\n"), fatal, "{cause}: {answer}");
            assert_eq!(answer.contains("\r\nl5d-proxy-connection: close\r\n"), fatal, "{cause}: {answer}");
            if fatal {
                assert_eq!(rest(&mut client).await, "", "{cause}");
            } else {
                send(&mut client, "GET /out HTTP/1.1\r\nhost: a\r\n\r\n").await;
                assert!(read_to(&mut client, "\r\n\r\n").await.starts_with("HTTP/1.1 404 "), "{cause}");
            }
        }
    });
}

/// Sends a request; whether its connection still takes another afterwards.
async fn ask(sender: &mut SendRequest<Full<Bytes>>, headers: &[(&str, &str)]) -> Response<Incoming> {
    let mut request = request(headers, "");
    *request.uri_mut() = "http://a.example/in".parse().unwrap();
    sender.send_request(request).await.unwrap()
}

/// Whether the connection goes away; a request that is under way may still end.
async fn goes_away(sender: &mut SendRequest<Full<Bytes>>) -> bool {
    let gone = async {
        while sender.ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_millis(300), gone).await.is_ok()
}

#[test]
fn a_1_10_http2_is_answered_by_status_and_told_to_go_away_if_the_cause_is_fatal() {
    run(async {
        for (cause, policy, status, _, fatal) in rows() {
            let rig = closed(Rig::new().await).await;
            rig.policies.send_replace(policy);
            let mut sender = client(&rig).await;
            let response = ask(&mut sender, &[]).await;
            assert_eq!(response.status(), status, "{cause}");
            assert_eq!(response.headers()["content-length"], "0", "{cause}");
            assert!(response.headers().contains_key("l5d-proxy-error"), "{cause}");
            assert_eq!(response.headers().get("l5d-proxy-connection").is_some(), fatal, "{cause}");
            assert_eq!(goes_away(&mut sender).await, fatal, "{cause}");
        }
    });
}

#[test]
fn a_1_10_grpc_is_answered_by_its_own_status() {
    run(async {
        for (cause, policy, _, grpc_status, _) in rows() {
            let rig = closed(Rig::new().await).await;
            rig.policies.send_replace(policy);
            let mut sender = client(&rig).await;
            let response = ask(&mut sender, &[("content-type", "application/grpc+proto")]).await;
            let headers = response.headers();
            assert_eq!(
                (response.status(), headers["content-type"].as_bytes()),
                (StatusCode::OK, &b"application/grpc"[..])
            );
            assert_eq!(headers["grpc-status"], grpc_status.to_string(), "{cause}");
            assert_eq!(headers["grpc-message"], headers["l5d-proxy-error"], "{cause}");
            assert_eq!(headers["content-length"], "0");
        }
    });
}

#[test]
fn a_1_10_http1_carried_in_http2_is_answered_as_http1() {
    run(async {
        let rig = closed(Rig::new().await).await;
        rig.policies.send_replace(filtered(DefaultPolicy::Deny, vec![], None));
        let mut sender = client(&rig).await;
        let headers = [("content-type", "application/grpc"), ("l5d-orig-proto", "HTTP/1.1")];
        let response = ask(&mut sender, &headers).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert_eq!(response.headers()["l5d-orig-proto"], "HTTP/1.1");
        assert!(!response.headers().contains_key("grpc-status"));
    });
}

#[test]
fn a_1_9_a_stranger_is_told_nothing_but_the_status() {
    run(async {
        for (cause, policy, status, grpc_status, _) in rows() {
            let mut rig = closed(Rig::new().await).await;
            rig.peer = None;
            rig.policies.send_replace(policy);
            let (mut http1, _) = rig.connect().await;
            send(&mut http1, IN).await;
            let answer = read_to(&mut http1, "\r\n\r\n").await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && !answer.contains("l5d"), "{cause}: {answer}");
            let mut sender = client(&rig).await;
            let response = ask(&mut sender, &[("content-type", "application/grpc")]).await;
            assert_eq!(response.headers()["grpc-status"], grpc_status.to_string(), "{cause}");
            let told = |name: &http::HeaderName| name.as_str().starts_with("l5d") || name == "grpc-message";
            assert!(!response.headers().keys().any(told), "{cause}");
        }
    });
}

#[test]
fn a_1_9_an_applications_own_l5d_headers_reach_no_peer() {
    run(async {
        let mut rig = Rig::new().await;
        rig.peer = Some(vm());
        let (mut client, _) = rig.connect().await;
        send(&mut client, GET).await;
        let mut app = rig.accept().await;
        read_to(&mut app, "\r\n\r\n").await;
        let forged = "l5d-proxy-error: x\r\nl5d-proxy-connection: close\r\nl5d-orig-proto: HTTP/1.0\r\n";
        send(&mut app, &format!("HTTP/1.1 200 OK\r\n{forged}content-length: 2\r\n\r\nok")).await;
        assert_eq!(read_to(&mut client, "ok").await, OK, "and the connection is kept");
    });
}

#[test]
fn a_1_9_a_meshed_peer_cannot_name_another_client() {
    run(async {
        let mut rig = Rig::new().await;
        rig.peer = Some(vm());
        let seen = application(&rig, false);
        let mut sender = client(&rig).await;
        let forged =
            ["l5d-client-id", "l5d-proxy-error", "l5d-proxy-connection", "l5d-require-id", "l5d-dst-canonical"];
        let forged: Vec<_> = forged.iter().map(|name| (*name, "forged")).collect();
        ask(&mut sender, &forged).await;
        let (_, headers, _) = seen.borrow()[0].clone();
        let l5d: Vec<_> = headers.iter().filter(|(name, _)| name.as_str().starts_with("l5d")).collect();
        assert_eq!(l5d.len(), 1);
        assert_eq!(headers["l5d-client-id"], "spiffe://td/vm");
    });
}

#[test]
fn a_redirect_names_the_place() {
    run(async {
        let rig = Rig::new().await;
        rig.policies.send_replace(filtered(DefaultPolicy::AllUnauthenticated, vec![redirect()], None));
        let (mut http1, _) = rig.connect().await;
        send(&mut http1, "GET /in/x?y HTTP/1.1\r\nhost: a.example:8080\r\n\r\n").await;
        let answer = read_to(&mut http1, "\r\n\r\n").await;
        assert!(answer.contains("\r\nlocation: http://b.example:8080/in/x?y\r\n"), "{answer}");
        let mut sender = client(&rig).await;
        let response = ask(&mut sender, &[]).await;
        assert_eq!(response.headers()["location"], "http://b.example/in");
        assert!(rig.untouched().await, "the application hears of neither");
    });
}

#[test]
fn a_route_changes_the_requests_headers() {
    run(async {
        let pairs = |name: &str| vec![(name.into(), "new".into())];
        let change = HeaderModifier { add: pairs("x-add"), set: pairs("x-set"), remove: vec!["x-gone".into()] };
        let changed = filtered(DefaultPolicy::AllUnauthenticated, vec![Filter::RequestHeaders(change)], None);
        let rig = Rig::new().await;
        rig.policies.send_replace(changed.clone());
        let (mut http1, _) = rig.connect().await;
        send(&mut http1, "GET /in HTTP/1.1\r\nhost: a\r\nx-add: old\r\nX-Set: old\r\nX-Gone: old\r\n\r\n").await;
        let mut app = rig.accept().await;
        let expected = "GET /in HTTP/1.1\r\nhost: a\r\nx-add: old\r\nx-add: new\r\nx-set: new\r\n\r\n";
        assert_eq!(read_to(&mut app, "\r\n\r\n").await, expected);

        let rig = Rig::new().await;
        rig.policies.send_replace(changed);
        let seen = application(&rig, false);
        let mut sender = client(&rig).await;
        ask(&mut sender, &[("x-add", "old"), ("x-set", "old"), ("x-gone", "old")]).await;
        let (_, headers, _) = seen.borrow()[0].clone();
        assert_eq!(headers.get_all("x-add").iter().collect::<Vec<_>>(), ["old", "new"]);
        assert_eq!((headers["x-set"].as_bytes(), headers.contains_key("x-gone")), (&b"new"[..], false));
    });
}

#[test]
fn a_3_4_a_limit_is_of_all_connections_and_outlives_a_change_of_the_policy() {
    run(async {
        let open = DefaultPolicy::AllUnauthenticated;
        let rig = Rig::new().await;
        application(&rig, false);
        rig.policies.send_replace(filtered(open, vec![], Some(one_a_second())));
        let (mut one, mut other) = (client(&rig).await, client(&rig).await);
        assert_eq!(ask(&mut one, &[]).await.status(), StatusCode::OK);
        assert_eq!(ask(&mut other, &[]).await.status(), StatusCode::TOO_MANY_REQUESTS);
        let PortState::Known(earlier) = rig.policies.borrow().clone() else { panic!() };
        let PortState::Known(later) = filtered(open, vec![], Some(one_a_second())) else { panic!() };
        let later = Arc::into_inner(later).unwrap().following(&earlier);
        rig.policies.send_replace(PortState::Known(Arc::new(later)));
        assert_eq!(ask(&mut one, &[]).await.status(), StatusCode::TOO_MANY_REQUESTS);
        rig.policies.send_replace(filtered(open, vec![], None));
        assert_eq!(ask(&mut other, &[]).await.status(), StatusCode::OK);
    });
}

#[test]
fn a_policy_that_becomes_unreadable_admits_nothing_more() {
    run(async {
        let rig = Rig::new().await;
        let seen = application(&rig, false);
        let mut sender = client(&rig).await;
        assert_eq!(ask(&mut sender, &[]).await.status(), StatusCode::OK);
        rig.policies.send_replace(PortState::Invalid("half a policy".into()));
        let both = [sender.send_request(request(&[], "")), sender.send_request(request(&[], ""))];
        for response in futures::future::join_all(both).await {
            assert_eq!(response.unwrap().status(), StatusCode::INTERNAL_SERVER_ERROR);
        }
        assert_eq!(seen.borrow().len(), 1);
    });
}

#[test]
fn a_refused_body_that_is_here_whole_leaves_the_connection_usable() {
    run(async {
        let rig = Rig::new().await;
        rig.policies.send_replace(policy(DefaultPolicy::Deny));
        let (mut client, _) = rig.connect().await;
        for framing in ["content-length: 4\r\n\r\nbody", "transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"] {
            send(&mut client, &format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}")).await;
            assert_eq!(read_to(&mut client, "\r\n\r\n").await, "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
        }
        send(&mut client, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nbody").await;
        assert!(rest(&mut client).await.contains("connection: close"), "the rest of it would be read as a request");
        assert!(rig.untouched().await);
    });
}

#[test]
fn a_5_decisions_are_counted_by_server_route_and_client() {
    run(async {
        let mut rig = Rig::new().await;
        rig.peer = Some(vm());
        application(&rig, false);
        let mut sender = client(&rig).await;
        let labels = "tls=\"true\",client_id=\"spiffe://td/vm\"";
        for (policy, name, of, times) in [
            (
                filtered(DefaultPolicy::AllAuthenticated, vec![], None),
                "authz_allow",
                "authz_name=\"all-authenticated\"",
                3,
            ),
            (filtered(DefaultPolicy::Deny, vec![], None), "authz_deny", "route_name=\"route\"", 2),
            (
                filtered(DefaultPolicy::AllUnauthenticated, vec![], Some(one_a_second())),
                "local_ratelimit",
                "scope=\"total\"",
                1,
            ),
        ] {
            rig.policies.send_replace(policy);
            for _ in 0..times {
                let _ = ask(&mut sender, &[]).await.into_body().collect().await;
            }
            if name == "local_ratelimit" {
                ask(&mut sender, &[]).await;
            }
            let text = rig.metrics();
            let found =
                text.lines().find(|line| line.starts_with(&format!("inbound_http_{name}_total")) && line.contains(of));
            let line = found.unwrap_or_else(|| panic!("{name} in {text}"));
            assert!(
                line.contains(labels) && line.contains("srv_kind=\"default\"") && line.contains("target_port="),
                "{line}"
            );
            assert!(line.ends_with(&format!("}} {times}")), "{line}");
        }
    });
}
