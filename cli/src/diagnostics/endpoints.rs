//! `diagnostics endpoints`: what `Destination.Get` says.

use super::controller::{Controller, refusal};
use crate::output::table;
use anyhow::{Context as _, Result, bail};
use comfy_table::Table;
use futures::future::join_all;
use linkerd2_proxy_api::destination::GetDestination;
use linkerd2_proxy_api::destination::destination_client::DestinationClient;
use outrigger_api::destination::{DestinationUpdate, Refused, update_from_proto};
use outrigger_model::{Endpoint, ProtocolHint};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Show the endpoints of services.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Service and port, like web.default.svc.cluster.local:80
    #[arg(required = true)]
    authority: Vec<String>,
    /// The context token, as the proxy of the asking workload would send it.
    #[arg(long, default_value = "")]
    token: String,
    #[command(flatten)]
    controller: Controller,
}

/// The endpoints of one service, as of the newest update.
#[derive(Default)]
struct Endpoints {
    known: BTreeMap<SocketAddr, Endpoint>,
    refused: Vec<Refused>,
}

pub(super) async fn run(args: Args) -> Result<()> {
    let (channel, addr) = args.controller.channel(8086).await?;
    let shown = args.authority.iter().map(|authority| {
        let (mut client, addr, args) = (DestinationClient::new(channel.clone()), addr.clone(), &args);
        async move {
            let path = authority.clone();
            let asked = GetDestination { path, context_token: args.token.clone(), ..GetDestination::default() };
            let answers = client.get(asked).await.map_err(|status| refusal(&addr, &status))?.into_inner();
            let shown = args.controller.follow(&addr, answers, Endpoints::update, |e| e.show(authority));
            shown.await.with_context(|| authority.clone())
        }
    });
    let failed: Vec<_> = join_all(shown).await.into_iter().filter_map(|shown| shown.err()).collect();
    let reasons: Vec<_> = failed.iter().map(|e| format!("{e:#}")).collect();
    if reasons.is_empty() { Ok(()) } else { bail!(reasons.join("; ")) }
}

impl Endpoints {
    fn update(&mut self, message: linkerd2_proxy_api::destination::Update) -> Result<()> {
        match update_from_proto(message).context("the update is not understood")? {
            DestinationUpdate::Add { endpoints, refused } => {
                self.refused.extend(refused);
                self.known.extend(endpoints.into_iter().map(|e| (e.addr, e)));
            }
            DestinationUpdate::Remove(addrs) => addrs.iter().for_each(|addr| drop(self.known.remove(addr))),
            DestinationUpdate::NoEndpoints { exists: true } => self.known.clear(),
            DestinationUpdate::NoEndpoints { exists: false } => bail!("there is no such service"),
        }
        Ok(())
    }

    fn show(&self, authority: &str) -> (Table, Value) {
        let mut table = table(["service", "address", "workload", "identity", "server name", "protocol"]);
        for e in self.known.values() {
            let tls = e.tls.as_ref();
            let identity = tls.map_or("not meshed", |tls| tls.id.as_str());
            let server_name = tls.and_then(|tls| tls.server_name.as_ref()).map_or("", |name| name.as_str());
            let address = e.addr.to_string();
            table.add_row([authority, &address, workload(e), identity, server_name, protocol(e.hint)]);
        }
        for refused in &self.refused {
            let address = refused.addr.map_or_else(|| "?".to_owned(), |addr| addr.to_string());
            table.add_row([authority, &address, "", &format!("unusable: {}", refused.why), "", ""]);
        }
        let endpoints: Vec<_> = self.known.values().map(endpoint_json).collect();
        let refused: Vec<_> =
            self.refused.iter().map(|r| json!({ "address": r.addr, "why": r.why.to_string() })).collect();
        (table, json!({ "authority": authority, "endpoints": endpoints, "refused": refused }))
    }
}

/// The pod or ExternalWorkload behind an endpoint.
pub(super) fn workload(endpoint: &Endpoint) -> &str {
    let label = |name| endpoint.labels.get(name);
    label("pod").or_else(|| label("external_workload")).map_or("", |name| name)
}

pub(super) fn protocol(hint: ProtocolHint) -> &'static str {
    match hint {
        ProtocolHint::Unknown => "detect",
        ProtocolHint::Http2 => "HTTP/2",
        ProtocolHint::Opaque => "opaque",
    }
}

pub(super) fn endpoint_json(endpoint: &Endpoint) -> Value {
    let tls = endpoint.tls.as_ref();
    json!({
        "address": endpoint.addr,
        "weight": endpoint.weight,
        "identity": tls.map(|tls| tls.id.as_str()),
        "serverName": tls.and_then(|tls| tls.server_name.as_ref()).map(|name| name.as_str()),
        "protocol": protocol(endpoint.hint),
        "inboundPort": endpoint.inbound_port,
        "authorityOverride": endpoint.authority_override.as_deref(),
        "labels": endpoint.labels.iter().map(|(k, v)| (k.to_string(), json!(&**v))).collect::<serde_json::Map<_, _>>(),
    })
}
