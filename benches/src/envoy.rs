//! A pair of Envoys as sidecars: HTTP/1.1 over mutual TLS 1.3, one worker thread each, P-256 keys, exact URI SANs.
//!
//! The comparison leans towards Envoy: static clusters instead of discovery, one route, no access log, no request ids.

use std::fs;
use std::net::SocketAddr;
use std::path::Path as FilePath;

use anyhow::{Context as _, Result, ensure};
use outrigger_testkit::{Host, Network, Process, Program};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use serde_json::{Value, json};

use crate::path::{Ends, Path, SERVER_PORT, started};
use crate::programs;
use crate::redirect::{CLIENT_UID, INBOUND_PORT, OUTBOUND_PORT, SERVER_UID, redirect};

const CLIENT_ID: &str = "spiffe://root.linkerd.cluster.local/client";
const SERVER_ID: &str = "spiffe://root.linkerd.cluster.local/server";
const DOWNSTREAM: &str = "DownstreamTlsContext";
const UPSTREAM: &str = "UpstreamTlsContext";
const TYPES: &str = "type.googleapis.com/envoy.extensions";

/// Starts the pair behind the same redirect rules as Outrigger's.
pub(crate) fn path(network: &mut Network, program: &FilePath) -> Result<Path> {
    ensure!(program.is_file(), "--envoy {}: there is no such file", program.display());
    let ends = Ends::new(network, "envoy", 2)?;
    let target = SocketAddr::new(ends.server_address, SERVER_PORT);
    let folder = network.folder().join("envoy");
    write_certificates(&folder)?;

    let program = programs::for_anyone(program)?;
    let upstream = TlsContext { kind: UPSTREAM, own: "client", peer: SERVER_ID };
    let downstream = TlsContext { kind: DOWNSTREAM, own: "server", peer: CLIENT_ID };
    let outbound = (OUTBOUND_PORT, config(OUTBOUND_PORT, target, upstream, &folder));
    let inbound = (INBOUND_PORT, config(INBOUND_PORT, target, downstream, &folder));
    let proxies = vec![
        start(&ends.client, &program, CLIENT_UID, &folder, outbound)?,
        start(&ends.server, &program, SERVER_UID, &folder, inbound)?,
    ];
    redirect(&ends.client, CLIENT_UID)?;
    redirect(&ends.server, SERVER_UID)?;
    Ok(ends.path("envoy", target, proxies))
}

fn start(
    host: &Host,
    program: &FilePath,
    uid: u32,
    folder: &FilePath,
    (port, config): (u16, Value),
) -> Result<Process> {
    let file = folder.join(format!("{port}.json"));
    fs::write(&file, config.to_string()).with_context(|| format!("cannot write {}", file.display()))?;
    let program = Program::new(program)
        .args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning", "--config-path"])
        .args([file])
        .user(uid, uid, &[]);
    started(host, &program, port)
}

/// A listener that forwards every request to `target`; TLS on the side that `context` names.
fn config(listen: u16, target: SocketAddr, context: TlsContext<'_>, folder: &FilePath) -> Value {
    let mut chain = json!({ "filters": [filter("network.http_connection_manager", json!({
        "@type": format!("{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "http",
        "codec_type": "HTTP1",
        "generate_request_id": false,
        "route_config": { "virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "next", "timeout": "0s" } }],
        }] },
        "http_filters": [filter("http.router", json!({ "@type": format!("{TYPES}.filters.http.router.v3.Router") }))],
    }))] });
    let mut cluster = json!({
        "name": "next",
        "type": "STATIC",
        "load_assignment": { "cluster_name": "next", "endpoints": [{ "lb_endpoints": [
            { "endpoint": { "address": address(target.ip().to_string(), target.port()) } },
        ] }] },
    });
    let side = if context.kind == DOWNSTREAM { &mut chain } else { &mut cluster };
    side["transport_socket"] = json!({ "name": "envoy.transport_sockets.tls", "typed_config": context.config(folder) });
    json!({ "static_resources": {
        "listeners": [{
            "name": "all",
            "address": address("0.0.0.0".to_owned(), listen),
            "filter_chains": [chain],
        }],
        "clusters": [cluster],
    } })
}

fn filter(name: &str, config: Value) -> Value {
    json!({ "name": format!("envoy.filters.{name}"), "typed_config": config })
}

fn address(ip: String, port: u16) -> Value {
    json!({ "socket_address": { "address": ip, "port_value": port } })
}

/// Which side speaks TLS, whose certificate is shown and which identity is asked for.
struct TlsContext<'a> {
    kind: &'a str,
    own: &'a str,
    peer: &'a str,
}

impl TlsContext<'_> {
    fn config(&self, folder: &FilePath) -> Value {
        let file = |name: &str| json!({ "filename": folder.join(name) });
        let mut context = json!({
            "@type": format!("{TYPES}.transport_sockets.tls.v3.{}", self.kind),
            "common_tls_context": {
                "tls_params": { "tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3" },
                "tls_certificates": [{
                    "certificate_chain": file(&format!("{}.crt", self.own)),
                    "private_key": file(&format!("{}.key", self.own)),
                }],
                "validation_context": {
                    "trusted_ca": file("ca.crt"),
                    "match_typed_subject_alt_names": [{ "san_type": "URI", "matcher": { "exact": self.peer } }],
                },
            },
        });
        if self.kind == DOWNSTREAM {
            context["require_client_certificate"] = json!(true);
        }
        context
    }
}

/// Writes ca.crt and a certificate and key for each end; readable by all, since they live as long as the run.
fn write_certificates(folder: &FilePath) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    fs::write(folder.join("ca.crt"), ca.self_signed(&ca_key)?.pem())?;
    let issuer = Issuer::new(ca, ca_key);
    for (name, id) in [("client", CLIENT_ID), ("server", SERVER_ID)] {
        let key = KeyPair::generate()?;
        let mut leaf = CertificateParams::default();
        leaf.subject_alt_names = vec![SanType::URI(id.try_into()?)];
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        fs::write(folder.join(format!("{name}.crt")), leaf.signed_by(&key, &issuer)?.pem())?;
        fs::write(folder.join(format!("{name}.key")), key.serialize_pem())?;
    }
    Ok(())
}
