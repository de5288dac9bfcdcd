//! policy.linkerd.io: Servers, and who is admitted to them.

use super::values::{group, identities, namespaced, networks, port_ref, selector, typed};
use crate::error::FieldError;
use crate::{
    AuthorizationPolicy, Client, Key, MeshTlsAuthentication, NetworkAuthentication, Object, ObjectRef, Server,
    ServerAuthorization, ServerMatch, ServerProtocol, ServerSelector,
};
use outrigger_crds::{self as crds, GATEWAY_GROUP, POLICY_GROUP};
use outrigger_model::DefaultPolicy;
use serde_json::Value;
use std::sync::Arc;

pub(super) fn server(value: Value) -> Result<Object, FieldError> {
    let explicit_policy = value.pointer("/spec/accessPolicy").is_some_and(|policy| !policy.is_null());
    let raw: crds::Server = typed(value)?;
    let spec = raw.spec;
    let selects = match (&spec.pod_selector, &spec.external_workload_selector) {
        (Some(pods), None) => ServerSelector::Pods(selector(pods, "/spec/podSelector")?),
        (None, Some(workloads)) => {
            ServerSelector::ExternalWorkloads(selector(workloads, "/spec/externalWorkloadSelector")?)
        }
        (Some(_), Some(_)) => {
            let problem = "a Server has either podSelector or externalWorkloadSelector; remove one of them";
            return Err(FieldError::new("/spec/externalWorkloadSelector", problem));
        }
        (None, None) => {
            let problem =
                "podSelector or externalWorkloadSelector is missing; write podSelector: {} to select every pod";
            return Err(FieldError::new("/spec", problem));
        }
    };
    Ok(Object::Server(Arc::new(Server {
        meta: namespaced(raw.metadata)?,
        selects,
        port: port_ref(&spec.port, "/spec/port")?,
        protocol: protocol(spec.proxy_protocol),
        access_policy: explicit_policy.then(|| access_policy(spec.access_policy)),
    })))
}

fn protocol(raw: crds::ProxyProtocol) -> ServerProtocol {
    match raw {
        crds::ProxyProtocol::Unknown => ServerProtocol::Unknown,
        crds::ProxyProtocol::Http1 => ServerProtocol::Http1,
        crds::ProxyProtocol::Http2 => ServerProtocol::Http2,
        crds::ProxyProtocol::Grpc => ServerProtocol::Grpc,
        crds::ProxyProtocol::Opaque => ServerProtocol::Opaque,
        crds::ProxyProtocol::Tls => ServerProtocol::Tls,
    }
}

fn access_policy(raw: crds::AccessPolicy) -> DefaultPolicy {
    match raw {
        crds::AccessPolicy::Deny => DefaultPolicy::Deny,
        crds::AccessPolicy::AllUnauthenticated => DefaultPolicy::AllUnauthenticated,
        crds::AccessPolicy::AllAuthenticated => DefaultPolicy::AllAuthenticated,
        crds::AccessPolicy::ClusterUnauthenticated => DefaultPolicy::ClusterUnauthenticated,
        crds::AccessPolicy::ClusterAuthenticated => DefaultPolicy::ClusterAuthenticated,
        crds::AccessPolicy::Audit => DefaultPolicy::Audit,
    }
}

pub(super) fn server_authorization(value: Value) -> Result<Object, FieldError> {
    let raw: crds::ServerAuthorization = typed(value)?;
    let meta = namespaced(raw.metadata)?;
    let server = match (raw.spec.server.name, &raw.spec.server.selector) {
        (Some(name), None) => ServerMatch::Name(name),
        (None, Some(raw)) => ServerMatch::Selector(selector(raw, "/spec/server/selector")?),
        _ => return Err(FieldError::new("/spec/server", "write either name or selector")),
    };
    Ok(Object::ServerAuthorization(Arc::new(ServerAuthorization {
        server,
        networks: networks(raw.spec.client.networks.as_deref().unwrap_or_default(), "/spec/client/networks")?,
        client: client(&raw.spec.client, &meta.key.namespace)?,
        meta,
    })))
}

fn client(raw: &crds::Client, namespace: &str) -> Result<Client, FieldError> {
    let unauthenticated = raw.unauthenticated == Some(true);
    let Some(mesh_tls) = &raw.mesh_tls else {
        let problem = "nobody is admitted; write unauthenticated: true, or meshTLS with identities or serviceAccounts";
        return unauthenticated
            .then_some(Client::Unauthenticated)
            .ok_or_else(|| FieldError::new("/spec/client", problem));
    };
    if unauthenticated {
        let problem = "unauthenticated and meshTLS exclude each other; remove one of them";
        return Err(FieldError::new("/spec/client/unauthenticated", problem));
    }
    let identities = identities(mesh_tls.identities.as_deref().unwrap_or_default(), "/spec/client/meshTLS/identities")?;
    let account = |raw: &crds::ServiceAccountRef| Key::new(raw.namespace.as_deref().unwrap_or(namespace), &raw.name);
    let service_accounts: Vec<_> = mesh_tls.service_accounts.iter().flatten().map(account).collect();
    match (mesh_tls.unauthenticated_tls == Some(true), identities.is_empty() && service_accounts.is_empty()) {
        (true, true) => Ok(Client::TlsUnauthenticated),
        (false, false) => Ok(Client::Authenticated { identities, service_accounts }),
        (true, false) => Err(FieldError::new(
            "/spec/client/meshTLS/unauthenticatedTLS",
            "unauthenticatedTLS admits everybody who speaks TLS, and identities are given; remove one of them",
        )),
        (false, true) => Err(FieldError::new(
            "/spec/client/meshTLS",
            "nobody is admitted; write identities, serviceAccounts or unauthenticatedTLS: true",
        )),
    }
}

pub(super) fn authorization_policy(value: Value) -> Result<Object, FieldError> {
    let raw: crds::AuthorizationPolicy = typed(value)?;
    let meta = namespaced(raw.metadata)?;
    let target = raw.spec.target_ref;
    let target = ObjectRef {
        group: group(target.group.as_deref()),
        kind: canonical(target.kind),
        namespace: None,
        name: name(target.name, "/spec/targetRef")?,
    };
    check_target(&target, &meta.key.namespace)?;
    let refs = raw.spec.required_authentication_refs;
    let one = |(index, raw): (usize, crds::AuthenticationRef)| {
        Ok(ObjectRef {
            group: group(raw.group.as_deref()),
            kind: canonical(raw.kind),
            namespace: raw.namespace.filter(|namespace| !namespace.is_empty()),
            name: name(raw.name, &format!("/spec/requiredAuthenticationRefs/{index}"))?,
        })
    };
    let required = refs.into_iter().enumerate().map(one).collect::<Result<Vec<_>, _>>()?;
    check_required(&required)?;
    Ok(Object::AuthorizationPolicy(Arc::new(AuthorizationPolicy { meta, target, required })))
}

/// References may write a kind in any case.
fn canonical(kind: String) -> String {
    const KINDS: [&str; 7] = [
        "Server",
        "HTTPRoute",
        "GRPCRoute",
        "Namespace",
        "MeshTLSAuthentication",
        "NetworkAuthentication",
        "ServiceAccount",
    ];
    KINDS.iter().find(|known| known.eq_ignore_ascii_case(&kind)).map_or(kind, |known| (*known).to_owned())
}

fn name(name: String, at: &str) -> Result<String, FieldError> {
    if name.is_empty() { Err(FieldError::new(format!("{at}/name"), "missing; name the object")) } else { Ok(name) }
}

fn check_target(target: &ObjectRef, namespace: &str) -> Result<(), FieldError> {
    match (target.group.as_str(), target.kind.as_str()) {
        (POLICY_GROUP, "Server" | "HTTPRoute") | (GATEWAY_GROUP, "HTTPRoute" | "GRPCRoute") => Ok(()),
        ("", "Namespace") if target.name == namespace => Ok(()),
        ("", "Namespace") => {
            let problem = format!("a policy applies to its own namespace only; write {namespace}");
            Err(FieldError::new("/spec/targetRef/name", problem))
        }
        (group, kind) => {
            let problem = format!(
                "a policy does not apply to {}; write a Server or HTTPRoute of {POLICY_GROUP}, an HTTPRoute or \
                 GRPCRoute of {GATEWAY_GROUP}, or the Namespace",
                named(group, kind)
            );
            Err(FieldError::new("/spec/targetRef", problem))
        }
    }
}

fn check_required(required: &[ObjectRef]) -> Result<(), FieldError> {
    let (mut identities, mut networks) = (0, 0);
    for (index, reference) in required.iter().enumerate() {
        let at = format!("/spec/requiredAuthenticationRefs/{index}");
        let count = match (reference.group.as_str(), reference.kind.as_str()) {
            (POLICY_GROUP, "MeshTLSAuthentication") | ("", "ServiceAccount") => &mut identities,
            (POLICY_GROUP, "NetworkAuthentication") => &mut networks,
            (group, kind) => {
                let problem = format!(
                    "{} is no authentication; write a MeshTLSAuthentication or NetworkAuthentication of \
                     {POLICY_GROUP}, or a ServiceAccount",
                    named(group, kind)
                );
                return Err(FieldError::new(at, problem));
            }
        };
        *count += 1;
        if *count > 1 {
            let problem = "at most one MeshTLSAuthentication or ServiceAccount and at most one NetworkAuthentication \
                           can be required; put the clients into one of them";
            return Err(FieldError::new(at, problem));
        }
    }
    Ok(())
}

fn named(group: &str, kind: &str) -> String {
    if group.is_empty() { format!("{kind} of the core group") } else { format!("{kind} of {group}") }
}

pub(super) fn mesh_tls_authentication(value: Value) -> Result<Object, FieldError> {
    let raw: crds::MeshTlsAuthentication = typed(value)?;
    let (names, refs) = (raw.spec.identities.unwrap_or_default(), raw.spec.identity_refs.unwrap_or_default());
    if names.is_empty() == refs.is_empty() {
        let problem = "write either identities or identityRefs, with at least one entry";
        return Err(FieldError::new("/spec", problem));
    }
    let one = |(index, raw): (usize, crds::IdentityRef)| identity_ref(raw, &format!("/spec/identityRefs/{index}"));
    Ok(Object::MeshTlsAuthentication(Arc::new(MeshTlsAuthentication {
        meta: namespaced(raw.metadata)?,
        identities: identities(&names, "/spec/identities")?,
        identity_refs: refs.into_iter().enumerate().map(one).collect::<Result<_, _>>()?,
    })))
}

fn identity_ref(raw: crds::IdentityRef, at: &str) -> Result<ObjectRef, FieldError> {
    let (group, kind) = (group(raw.group.as_deref()), canonical(raw.kind));
    let namespace = raw.namespace.filter(|namespace| !namespace.is_empty());
    match (group.as_str(), kind.as_str()) {
        ("", "ServiceAccount") => {}
        ("", "Namespace") if namespace.is_none() => {}
        ("", "Namespace") => {
            return Err(FieldError::new(format!("{at}/namespace"), "a Namespace is in no namespace; remove it"));
        }
        (group, kind) => {
            let problem = format!("{} is no identity; write a ServiceAccount or a Namespace", named(group, kind));
            return Err(FieldError::new(at, problem));
        }
    }
    Ok(ObjectRef { group, kind, namespace, name: name(raw.name.unwrap_or_default(), at)? })
}

pub(super) fn network_authentication(value: Value) -> Result<Object, FieldError> {
    let raw: crds::NetworkAuthentication = typed(value)?;
    if raw.spec.networks.is_empty() {
        return Err(FieldError::new("/spec/networks", "write at least one network"));
    }
    Ok(Object::NetworkAuthentication(Arc::new(NetworkAuthentication {
        meta: namespaced(raw.metadata)?,
        networks: networks(&raw.spec.networks, "/spec/networks")?,
    })))
}
