//! `diagnostics policy`: what `InboundServerPolicies.WatchPort` says of a workload's port, and `OutboundPolicies.Watch` of
//! a destination.

use super::controller::{Controller, refusal};
use super::outbound;
use crate::output::table;
use anyhow::{Context as _, Result};
use comfy_table::Table;
use linkerd2_proxy_api::inbound::PortSpec;
use linkerd2_proxy_api::inbound::inbound_server_policies_client::InboundServerPoliciesClient;
use outrigger_api::inbound::policy_from_proto;
use outrigger_model::{
    Authentication, Authorization, IdentityMatch, InboundPolicy, InboundProtocol, InboundRoute, NetworkMatch, Target,
    Traffic, WorkloadRef,
};
use outrigger_mtls::grpc::ControlAddr;
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use tonic::transport::Channel;

/// Show who may come in at a workload's port, or where traffic to a Service's port or an address goes.
#[derive(clap::Args)]
pub(super) struct Args {
    /// pod/NAME.NAMESPACE or externalworkload/NAME.NAMESPACE; service/NAME.NAMESPACE or an address
    #[arg(value_parser = subject)]
    subject: Subject,
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Whose traffic to the Service or address: pod/NAME.NAMESPACE or externalworkload/NAME.NAMESPACE
    #[arg(long, value_name = "WORKLOAD", value_parser = workload, default_value = "pod/nobody.default")]
    from: WorkloadRef,
    /// The end of Services' names
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    cluster_domain: String,
    #[command(flatten)]
    controller: Controller,
}

/// What a policy is about.
#[derive(Debug, Clone, PartialEq)]
enum Subject {
    Workload(WorkloadRef),
    Service { namespace: String, name: String },
    Address(IpAddr),
}

pub(super) async fn run(args: Args) -> Result<()> {
    let (channel, addr) = args.controller.channel(8090).await?;
    let port = args.port;
    let target = match &args.subject {
        Subject::Workload(workload) => return inbound(&args, workload, channel, &addr).await,
        Subject::Service { namespace, name } => {
            Target::Authority(format!("{name}.{namespace}.svc.{}:{port}", args.cluster_domain).into())
        }
        Subject::Address(ip) => Target::Addr(SocketAddr::new(*ip, port)),
    };
    let traffic = Traffic { source: args.from.to_json().into(), target };
    outbound::run(&traffic, &args.controller, channel, &addr).await
}

async fn inbound(args: &Args, workload: &WorkloadRef, channel: Channel, addr: &ControlAddr) -> Result<()> {
    let asked = PortSpec { workload: workload.to_json(), port: args.port.into() };
    let answers = InboundServerPoliciesClient::new(channel).watch_port(asked).await;
    let answers = answers.map_err(|status| refusal(addr, &status))?.into_inner();
    let see = |newest: &mut Option<InboundPolicy>, message| {
        *newest = Some(policy_from_proto(message).context("the policy is not understood")?);
        Ok(())
    };
    let show = |newest: &Option<InboundPolicy>| newest.as_ref().map_or_else(|| (table([""]), Value::Null), show);
    args.controller.follow(addr, answers, see, show).await
}

fn subject(text: &str) -> Result<Subject, String> {
    if let Ok(ip) = text.parse() {
        return Ok(Subject::Address(ip));
    }
    match text.split_once('/') {
        Some(("service" | "svc", rest)) => {
            let (name, namespace) = named(rest)?;
            Ok(Subject::Service { namespace: namespace.to_owned(), name: name.to_owned() })
        }
        _ => workload(text).map(Subject::Workload),
    }
}

/// Parses `pod/NAME.NAMESPACE`, `externalworkload/NAME.NAMESPACE` (or `ew/…`), or what a proxy's environment holds.
fn workload(text: &str) -> Result<WorkloadRef, String> {
    let Some((kind, rest)) = text.split_once('/') else {
        return WorkloadRef::parse(text).map_err(|e| format!("{e}, or pod/NAME.NAMESPACE"));
    };
    let (name, namespace) = named(rest)?;
    match kind {
        "pod" => Ok(WorkloadRef::pod(namespace, name)),
        "externalworkload" | "ew" => Ok(WorkloadRef::external(namespace, name)),
        other => Err(format!("{other:?} is no kind; write pod/…, externalworkload/… or service/…")),
    }
}

/// A pod's name may hold dots, a namespace's may not.
fn named(text: &str) -> Result<(&str, &str), String> {
    let parts = text.rsplit_once('.').filter(|(name, namespace)| !name.is_empty() && !namespace.is_empty());
    parts.ok_or_else(|| "write the namespace after the name: pod/NAME.NAMESPACE".to_owned())
}

fn show(policy: &InboundPolicy) -> (Table, Value) {
    let (name, routes) = protocol(&policy.protocol);
    let mut table = table(["server", "protocol", "authorization", "clients", "networks"]);
    let mut add = |from: &str, authorizations: &[Authorization]| {
        for a in authorizations {
            table.add_row([from, name, &a.meta.to_string(), &clients(&a.authentication), &networks(&a.networks)]);
        }
        if authorizations.is_empty() {
            table.add_row([from, name, "none", "nobody", ""]);
        }
    };
    add(&policy.meta.to_string(), &policy.authorizations);
    routes.iter().for_each(|route| add(&route.meta.to_string(), &route.authorizations));
    let authorizations = |list: &[Authorization]| list.iter().map(authorization_json).collect::<Vec<_>>();
    let routes: Vec<_> = routes
        .iter()
        .map(|r| json!({ "route": r.meta.to_string(), "authorizations": authorizations(&r.authorizations) }))
        .collect();
    let json = json!({
        "server": policy.meta.to_string(),
        "protocol": name,
        "authorizations": authorizations(&policy.authorizations),
        "routes": routes,
    });
    (table, json)
}

fn protocol(protocol: &InboundProtocol) -> (&'static str, &[InboundRoute]) {
    match protocol {
        InboundProtocol::Detect { routes, .. } => ("detect", routes),
        InboundProtocol::Http1 { routes } => ("HTTP/1", routes),
        InboundProtocol::Http2 { routes } => ("HTTP/2", routes),
        InboundProtocol::Grpc { routes } => ("gRPC", routes),
        InboundProtocol::Opaque => ("opaque", &[]),
        InboundProtocol::Tls => ("TLS", &[]),
    }
}

fn authorization_json(a: &Authorization) -> Value {
    let networks: Vec<_> = a.networks.iter().map(|n| json!({ "cidr": n.net, "except": n.except })).collect();
    json!({ "authorization": a.meta.to_string(), "clients": clients(&a.authentication), "networks": networks })
}

fn clients(authentication: &Authentication) -> String {
    match authentication {
        Authentication::Unauthenticated => "anybody".to_owned(),
        Authentication::TlsUnauthenticated => "anybody over TLS".to_owned(),
        Authentication::TlsAuthenticated(identities) => identities.iter().map(identity).collect::<Vec<_>>().join("\n"),
    }
}

fn identity(identity: &IdentityMatch) -> String {
    match identity {
        IdentityMatch::Any => "any meshed client".to_owned(),
        IdentityMatch::Exact(name) => name.to_string(),
        IdentityMatch::DnsSuffix(name) => format!("*.{name}"),
        IdentityMatch::SpiffePrefix(prefix) => format!("{prefix}/*"),
    }
}

fn networks(networks: &[NetworkMatch]) -> String {
    let network = |n: &NetworkMatch| match &n.except[..] {
        [] => n.net.to_string(),
        except => format!("{} except {}", n.net, except.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    };
    networks.iter().map(network).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_are_named_as_kubectl_names_them_or_as_proxies_do() {
        let pod = WorkloadRef::pod("mixed-env", "web.0");
        assert_eq!(workload("pod/web.0.mixed-env"), Ok(pod.clone()));
        assert_eq!(workload(&pod.to_string()), Ok(pod.clone()));
        assert_eq!(workload(&pod.to_json()), Ok(pod));
        assert_eq!(workload("ew/vm.mixed-env"), Ok(WorkloadRef::external("mixed-env", "vm")));
        assert_eq!(subject("ew/vm.mixed-env"), workload("ew/vm.mixed-env").map(Subject::Workload));
        let service = Subject::Service { namespace: "mixed-env".into(), name: "web".into() };
        assert_eq!(subject("svc/web.mixed-env"), Ok(service));
        assert_eq!(subject("fd00::1"), Ok(Subject::Address("fd00::1".parse().unwrap())));
        for bad in ["svc/web", "pod/web", "node/web.ns", "web"] {
            assert!(subject(bad).unwrap_err().contains("pod/"), "{bad}");
        }
        for bad in ["pod/web", "pod/.ns", "pod/web.", "node/web.ns", "web"] {
            assert!(workload(bad).unwrap_err().contains("pod/"), "{bad}");
        }
    }
}
