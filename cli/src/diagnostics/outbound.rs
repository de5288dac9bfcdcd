//! What `OutboundPolicies.Watch` says of a destination.

use super::controller::{Controller, refusal};
use crate::output::table;
use anyhow::{Context as _, Result};
use comfy_table::Table;
use linkerd2_proxy_api::outbound::outbound_policies_client::OutboundPoliciesClient;
use outrigger_api::outbound::{policy_from_proto, traffic_to_proto};
use outrigger_model::{
    Backend, Dispatch, Distribution, Filter, Meta, OpaqueFilter, OpaqueRule, OutboundPolicy, OutboundProtocol,
    OutboundRoute, OutboundRule, RouteBackend, Traffic,
};
use outrigger_mtls::grpc::ControlAddr;
use serde_json::{Value, json};
use tonic::transport::Channel;

/// Shows the policy of the traffic, once or with each change.
pub(super) async fn run(
    traffic: &Traffic,
    controller: &Controller,
    channel: Channel,
    addr: &ControlAddr,
) -> Result<()> {
    let answers = OutboundPoliciesClient::new(channel).watch(traffic_to_proto(traffic)).await;
    let answers = answers.map_err(|status| refusal(addr, &status))?.into_inner();
    let see = |newest: &mut Option<OutboundPolicy>, message| {
        *newest = Some(policy_from_proto(message).context("the policy is not understood")?);
        Ok(())
    };
    let show = |newest: &Option<OutboundPolicy>| newest.as_ref().map_or_else(|| (table([""]), Value::Null), show);
    controller.follow(addr, answers, see, show).await
}

/// One backend of one rule.
struct Row {
    speaks: &'static str,
    route: String,
    filters: String,
    backend: String,
    weight: String,
    limits: String,
}

fn show(policy: &OutboundPolicy) -> (Table, Value) {
    let (protocol, rows) = protocol(&policy.protocol);
    let parent = match policy.meta.port {
        Some(port) => format!("{}:{port}", policy.meta),
        None => policy.meta.to_string(),
    };
    let mut table = table(["parent", "protocol", "traffic", "route", "filters", "backend", "weight", "limits"]);
    for row in &rows {
        table.add_row([
            &parent,
            protocol,
            row.speaks,
            &row.route,
            &row.filters,
            &row.backend,
            &row.weight,
            &row.limits,
        ]);
    }
    let row = |row: &Row| {
        json!({
            "traffic": row.speaks,
            "route": row.route,
            "filters": row.filters,
            "backend": row.backend,
            "weight": row.weight,
            "limits": row.limits,
        })
    };
    let rows: Vec<_> = rows.iter().map(row).collect();
    (table, json!({ "parent": parent, "protocol": protocol, "backends": rows }))
}

fn protocol(protocol: &OutboundProtocol) -> (&'static str, Vec<Row>) {
    match protocol {
        OutboundProtocol::Detect { http1, http2, opaque, .. } => {
            let opaque = opaque.iter().flat_map(|route| opaque_rows("opaque", &route.meta, &route.rule));
            let http1 = http_rows("HTTP/1", &http1.routes).into_iter();
            ("detect", http1.chain(http_rows("HTTP/2", &http2.routes)).chain(opaque).collect())
        }
        OutboundProtocol::Http1(http) => ("HTTP/1", http_rows("HTTP/1", &http.routes)),
        OutboundProtocol::Http2(http) => ("HTTP/2", http_rows("HTTP/2", &http.routes)),
        OutboundProtocol::Grpc(grpc) => ("gRPC", http_rows("gRPC", &grpc.routes)),
        OutboundProtocol::Opaque(routes) => {
            ("opaque", routes.iter().flat_map(|route| opaque_rows("opaque", &route.meta, &route.rule)).collect())
        }
        OutboundProtocol::Tls(routes) => {
            ("TLS", routes.iter().flat_map(|route| opaque_rows("TLS", &route.meta, &route.rule)).collect())
        }
    }
}

fn http_rows(speaks: &'static str, routes: &[OutboundRoute]) -> Vec<Row> {
    let rules = routes.iter().flat_map(|route| route.rules.iter().map(move |rule| (route, rule)));
    let rows = |(route, rule): (&OutboundRoute, &OutboundRule)| {
        let limits = limits(rule);
        let rows = rows(speaks, &route.meta, &rule.filters, &rule.backends, http_filter);
        rows.into_iter().map(move |row| Row { limits: limits.clone(), ..row }).collect::<Vec<_>>()
    };
    rules.flat_map(rows).collect()
}

fn opaque_rows(speaks: &'static str, route: &Meta, rule: &OpaqueRule) -> Vec<Row> {
    rows(speaks, route, &rule.filters, &rule.backends, opaque_filter)
}

fn rows<F>(
    speaks: &'static str,
    route: &Meta,
    filters: &[F],
    backends: &Distribution<F>,
    filter: fn(&F) -> String,
) -> Vec<Row> {
    let row = |backend: String, weight: String, own: &[F]| Row {
        speaks,
        route: route.to_string(),
        filters: filters.iter().chain(own).map(filter).collect::<Vec<_>>().join("\n"),
        backend,
        weight,
        limits: String::new(),
    };
    let to = |of: &RouteBackend<F>, weight| row(backend(&of.backend), weight, &of.filters);
    match backends {
        Distribution::Empty => vec![row("none".to_owned(), String::new(), &[])],
        Distribution::FirstAvailable(list) => list.iter().map(|of| to(of, String::new())).collect(),
        Distribution::RandomAvailable(list) => list.iter().map(|(weight, of)| to(of, weight.to_string())).collect(),
    }
}

fn backend(backend: &Backend) -> String {
    match &backend.dispatch {
        Dispatch::Balancer { path, .. } => path.to_string(),
        Dispatch::Forward(endpoint) => endpoint.addr.to_string(),
        Dispatch::Fail => format!("none ({})", backend.meta),
    }
}

fn limits(rule: &OutboundRule) -> String {
    let timeouts = &rule.timeouts;
    let named = [("request", timeouts.request), ("response", timeouts.response), ("idle", timeouts.idle)];
    let timeouts = named.into_iter().filter_map(|(name, limit)| Some(format!("{name} {:?}", limit?)));
    let retries = rule.retry.as_ref().map(|retry| format!("{} retries", retry.max_retries));
    timeouts.chain(retries).collect::<Vec<_>>().join("\n")
}

fn http_filter(filter: &Filter) -> String {
    match filter {
        Filter::RequestHeaders(_) => "changes request headers".to_owned(),
        Filter::ResponseHeaders(_) => "changes response headers".to_owned(),
        Filter::Redirect(redirect) => format!("redirects: {}", redirect.status),
        Filter::Fail { status, message, .. } => format!("fails: {status} {message}"),
        Filter::FailGrpc { code, message, .. } => format!("fails: grpc-status {code} {message}"),
        Filter::Unknown => "unknown: refuses".to_owned(),
    }
}

fn opaque_filter(filter: &OpaqueFilter) -> String {
    match filter {
        OpaqueFilter::Forbidden => "forbidden".to_owned(),
        OpaqueFilter::Invalid(why) => format!("invalid: {why}"),
        OpaqueFilter::Unknown => "unknown: refuses".to_owned(),
    }
}
