//! Routes of any content, for round trips of both directions' policies.

use outrigger_model::{
    Filter, HeaderMatch, HeaderModifier, HostMatch, Meta, PathMatch, QueryMatch, Ratio, Redirect, RouteMatch,
    ValueMatch,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use std::sync::Arc;

prop_compose! {
    pub(crate) fn object(kind: &'static str)(namespace in "[a-z]{1,4}", name in "[a-z]{1,4}") -> Meta {
        Meta::object("policy.linkerd.io", kind, &namespace, &name)
    }
}

pub(crate) fn text(pattern: &'static str) -> impl Strategy<Value = Arc<str>> {
    pattern.prop_map(Into::into)
}

fn value() -> impl Strategy<Value = ValueMatch> {
    prop_oneof![text("[ -~]{0,4}").prop_map(ValueMatch::Exact), text("[a-z.*]{0,4}").prop_map(ValueMatch::Regex)]
}

fn headers() -> impl Strategy<Value = Vec<HeaderMatch>> {
    vec((text("[a-z-]{1,4}"), value()).prop_map(|(name, value)| HeaderMatch { name, value }), 0..2)
}

pub(crate) fn header_modifier() -> impl Strategy<Value = HeaderModifier> {
    let pairs = || vec((text("[a-z-]{1,4}"), text("[ -~]{0,4}")), 0..2);
    (pairs(), pairs(), vec(text("[a-z-]{1,4}"), 0..2)).prop_map(|(set, add, remove)| HeaderModifier {
        set,
        add,
        remove,
    })
}

pub(crate) fn http_match() -> impl Strategy<Value = RouteMatch> {
    let path = prop_oneof![
        text("/[a-z/]{0,4}").prop_map(PathMatch::Exact),
        text("/[a-z/]{0,4}").prop_map(PathMatch::Prefix),
        text("/[a-z.*]{0,4}").prop_map(PathMatch::Regex),
    ];
    let query = (text("[a-z]{1,4}"), value()).prop_map(|(name, value)| QueryMatch { name, value });
    let method = prop_oneof![text("GET|POST|PATCH|TRACE"), text("[A-Z]{1,5}")];
    (option::of(path), headers(), vec(query, 0..2), option::of(method))
        .prop_map(|(path, headers, query, method)| RouteMatch { path, headers, query, method })
}

pub(crate) fn grpc_match() -> impl Strategy<Value = RouteMatch> {
    let path = prop_oneof![
        text("/[a-z.]{1,4}/[a-z]{1,4}").prop_map(PathMatch::Exact),
        text("/[a-z.]{1,4}").prop_map(PathMatch::Prefix),
    ];
    (option::of(path), headers()).prop_map(|(path, headers)| RouteMatch { path, headers, ..RouteMatch::default() })
}

/// The filters that both directions' HTTP messages can say.
pub(crate) fn http_filter() -> impl Strategy<Value = Filter> {
    let redirect = (
        option::of(text("http|https|ws")),
        option::of(text("[a-z]{1,4}")),
        option::of(1u16..),
        option::of(text("/x?")),
    );
    prop_oneof![
        header_modifier().prop_map(Filter::RequestHeaders),
        (redirect, 300u16..400).prop_map(|((scheme, host, port, path), status)| {
            Filter::Redirect(Redirect { scheme, host, port, path, status })
        }),
        (400u16..600, text("[a-z ]{0,4}"), ratio()).prop_map(|(status, message, ratio)| Filter::Fail {
            status,
            message,
            ratio
        }),
    ]
}

/// The filters that both directions' gRPC messages can say.
pub(crate) fn grpc_filter() -> impl Strategy<Value = Filter> {
    prop_oneof![
        header_modifier().prop_map(Filter::RequestHeaders),
        (0u16..17, text("[a-z ]{0,4}"), ratio()).prop_map(|(code, message, ratio)| Filter::FailGrpc {
            code,
            message,
            ratio
        }),
    ]
}

pub(crate) fn hosts() -> impl Strategy<Value = Vec<HostMatch>> {
    let host = prop_oneof![
        text("[a-z]{1,3}\\.[a-z]{1,3}").prop_map(HostMatch::Exact),
        text("[a-z]{1,3}(\\.[a-z]{1,3}){0,2}").prop_map(HostMatch::Suffix),
    ];
    vec(host, 0..2)
}

fn ratio() -> impl Strategy<Value = Ratio> {
    (1u32..9).prop_flat_map(|denominator| (0..=denominator).prop_map(move |numerator| Ratio { numerator, denominator }))
}
