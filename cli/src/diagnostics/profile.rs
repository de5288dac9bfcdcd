//! `diagnostics profile`: what `Destination.GetProfile` says.

use super::controller::{Controller, refusal};
use super::endpoints::{endpoint_json, protocol, workload};
use crate::output::table;
use anyhow::{Context as _, Result};
use comfy_table::Table;
use linkerd2_proxy_api::destination::GetDestination;
use linkerd2_proxy_api::destination::destination_client::DestinationClient;
use outrigger_api::destination::profile_from_proto;
use outrigger_model::Profile;
use serde_json::{Value, json};

/// Show what an address is: a service, a workload, or neither.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Address and port, like 10.96.0.10:80 or web.default.svc.cluster.local:80
    #[arg(value_name = "ADDR")]
    destination: String,
    /// The context token, as the proxy of the asking workload would send it.
    #[arg(long, default_value = "")]
    token: String,
    #[command(flatten)]
    controller: Controller,
}

pub(super) async fn run(args: Args) -> Result<()> {
    let (channel, controller) = args.controller.channel(8086).await?;
    let (path, context_token) = (args.destination.clone(), args.token);
    let asked = GetDestination { path, context_token, ..GetDestination::default() };
    let answers = DestinationClient::new(channel).get_profile(asked).await;
    let answers = answers.map_err(|status| refusal(&controller, &status))?.into_inner();
    let see = |profile: &mut Profile, message| {
        *profile = profile_from_proto(message).context("the profile is not understood")?;
        Ok(())
    };
    args.controller.follow(&controller, answers, see, |profile| show(&args.destination, profile)).await
}

fn show(addr: &str, profile: &Profile) -> (Table, Value) {
    let mut table = table(["address", "service", "endpoint", "workload", "identity", "protocol"]);
    let endpoint = profile.endpoint.as_ref();
    let identity = endpoint.map_or("", |e| e.tls.as_ref().map_or("not meshed", |tls| tls.id.as_str()));
    let protocol = if profile.opaque { "opaque" } else { endpoint.map_or("detect", |e| protocol(e.hint)) };
    let at = endpoint.map_or(String::new(), |e| e.addr.to_string());
    table.add_row([
        addr,
        profile.service.as_deref().unwrap_or(""),
        &at,
        endpoint.map_or("", workload),
        identity,
        protocol,
    ]);
    let json = json!({
        "address": addr,
        "service": profile.service.as_deref(),
        "opaque": profile.opaque,
        "endpoint": endpoint.map(endpoint_json),
    });
    (table, json)
}
