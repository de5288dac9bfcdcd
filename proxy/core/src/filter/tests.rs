use super::*;
use crate::http1::{Request, fields as room};
use proptest::prelude::*;

fn headers(add: &[(&str, &str)], set: &[(&str, &str)], remove: &[&str]) -> HeaderModifier {
    let pairs = |list: &[(&str, &str)]| list.iter().map(|&(n, v)| (n.into(), v.into())).collect();
    HeaderModifier { add: pairs(add), set: pairs(set), remove: remove.iter().map(|&name| name.into()).collect() }
}

fn answer(filter: Filter, head: &str) -> Option<Answer> {
    let mut room = room();
    let request = Request::parse(head.as_bytes(), &mut room).unwrap().unwrap();
    Filters::compile(&[filter]).unwrap().unwrap().answer(&request, 0)
}

fn location(redirect: Redirect, target: &str, host: &str) -> Option<String> {
    let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    match answer(Filter::Redirect(Redirect { status: 302, ..redirect }), &head) {
        Some(Answer::Redirect { status: 302, location }) => Some(location.to_string()),
        None => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_redirect_replaces_the_parts_that_it_names() {
    let plain = Redirect::default;
    let scheme = |s: &str| Redirect { scheme: Some(s.into()), ..plain() };
    let host = |h: &str| Redirect { host: Some(h.into()), ..plain() };
    let port = |port| Redirect { port: Some(port), ..plain() };
    let path = |p: &str| Redirect { path: Some(p.into()), ..plain() };
    for (redirect, target, asked, expected) in [
        (host("b.example"), "/x?y&z", "a.example", "http://b.example/x?y&z"),
        (host("b.example"), "/x", "a.example:8080", "http://b.example:8080/x"),
        (Redirect { port: Some(80), ..host("b") }, "/", "a", "http://b:80/"),
        (port(8080), "/x", "a", "http://a:8080/x"),
        (port(80), "/x", "a:8080", "http://a/x"),
        (scheme("https"), "/x", "a", "https://a/x"),
        (scheme("https"), "/x", "a:443", "https://a/x"),
        (path("/new"), "/old?q", "a", "http://a/new"),
        (path("/new?p"), "/old?q", "[::1]:8080", "http://[::1]:8080/new?p"),
        (path("/new"), "http://c:1/old", "a", "http://c:1/new"),
    ] {
        assert_eq!(location(redirect, target, asked).as_deref(), Some(expected));
    }
}

#[test]
fn a_redirect_to_the_same_place_is_none() {
    assert_eq!(location(Redirect::default(), "/x?y", "a"), None);
    assert_eq!(location(Redirect { port: Some(80), ..Redirect::default() }, "/", "a"), None);
    assert_eq!(location(Redirect { path: Some("/x".into()), ..Redirect::default() }, "/x", "a:81"), None);
    let hostless = answer(Filter::Redirect(Redirect { status: 301, ..Redirect::default() }), "GET / HTTP/1.0\r\n\r\n");
    assert!(matches!(hostless, Some(Answer::Invalid(_))));
}

#[test]
fn what_could_break_out_of_a_header_is_refused() {
    let bad_value = Filter::RequestHeaders(headers(&[("a", "x\r\nevil: y")], &[], &[]));
    assert!(matches!(Filters::compile(&[bad_value]), Err(InvalidFilter::HeaderValue(_))));
    let bad_name = Filter::RequestHeaders(headers(&[], &[], &["a b"]));
    assert!(matches!(Filters::compile(&[bad_name]), Err(InvalidFilter::HeaderName(_))));
    let redirect = |host: &str, path: &str, status| {
        Filters::compile(&[Filter::Redirect(Redirect {
            host: Some(host.into()),
            path: Some(path.into()),
            status,
            ..Redirect::default()
        })])
    };
    assert!(redirect("a", "/b", 302).is_ok());
    for (host, path, status) in
        [("a\r\nb", "/", 302), ("a/b", "/", 302), ("", "/", 302), ("a", "b", 302), ("a", "/ ", 302), ("a", "/", 200)]
    {
        assert!(redirect(host, path, status).is_err(), "{host:?} {path:?} {status}");
    }
    assert!(Filters::compile(&[Filter::Fail { status: 100, message: "".into(), ratio: Ratio::ALL }]).is_err());
    let fail = Filter::Fail { status: 503, message: "a\r\nb".into(), ratio: Ratio::ALL };
    let shown = answer(fail, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(shown, Some(Answer::Fail { status: 503, message: "a??b".into() }));
}

#[test]
fn headers_that_only_a_proxy_may_change_stay() {
    let filter = headers(&[("Host", "b"), ("x", "1")], &[("content-length", "0")], &["L5D-Client-Id", "y"]);
    let compiled = Filters::compile(&[Filter::RequestHeaders(filter)]).unwrap().unwrap();
    assert_eq!(compiled.request, [headers(&[("x", "1")], &[], &["y"])]);
    assert_eq!(compiled.ignored.len(), 3);
}

#[test]
fn headers_are_added_then_set_then_removed() {
    let change = headers(&[("A", "2"), ("b", "2")], &[("b", "3")], &["c", "d"]);
    let before = [("a", &b"1"[..]), ("B", b"1"), ("C", b"1"), ("d", b"1"), ("e", b"1")];
    let after = modified(before.into_iter(), std::slice::from_ref(&change));
    assert_eq!(after, [("a", &b"1"[..]), ("e", b"1"), ("A", b"2"), ("b", b"3")]);
    let set_and_removed = headers(&[], &[("c", "9")], &["C"]);
    assert_eq!(modified([].into_iter(), &[set_and_removed]), []);
}

#[test]
fn the_first_filter_that_answers_does() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let never = Ratio { numerator: 0, denominator: 1 };
    let filters = [
        Filter::Fail { status: 500, message: "never".into(), ratio: never },
        Filter::RequestHeaders(HeaderModifier::default()),
        Filter::FailGrpc { code: 8, message: "always".into(), ratio: Ratio::ALL },
        Filter::Unknown,
    ];
    let mut room = room();
    let request = Request::parse(head.as_bytes(), &mut room).unwrap().unwrap();
    let compiled = Filters::compile(&filters).unwrap().unwrap();
    for random in [0, u64::MAX] {
        assert_eq!(compiled.answer(&request, random), Some(Answer::FailGrpc { code: 8, message: "always".into() }));
    }
    assert!(matches!(answer(Filter::Unknown, head), Some(Answer::Invalid(_))));
    assert!(Filters::compile(&[]).unwrap().is_none());
}

proptest! {
    #[test]
    fn a_share_is_kept(numerator in 0u32..100, denominator in 100u32..1000) {
        let steps = (0..denominator).filter(|i| {
            applies(Ratio { numerator, denominator }, (u128::from(*i) << 64).div_ceil(u128::from(denominator)) as u64)
        });
        prop_assert_eq!(steps.count() as u32, numerator, "of evenly spread numbers exactly the share");
    }
}
