//! Who is admitted: ServerAuthorizations, AuthorizationPolicies, and the identities that they stand for.

use crate::Config;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use outrigger_cluster::{
    AuthorizationPolicy, Client, HttpRoute, Key, MeshTlsAuthentication, ObjectRef, Server, ServerAuthorization,
    ServerMatch, World,
};
use outrigger_model::{Authentication, Authorization, DnsName, IdentityMatch, Meta, NetworkMatch, SpiffeId};
use std::collections::BTreeMap;
use std::sync::Arc;
use thiserror::Error;

pub(crate) const GROUP: &str = "policy.linkerd.io";

/// Why an AuthorizationPolicy admits nobody.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum Ignored {
    #[error("{kind} {key} does not exist; create it, or take it out of requiredAuthenticationRefs")]
    Missing { kind: &'static str, key: Key },
    #[error(
        "{0} is one requirement too many: one of identities and one of networks may be required; write more policies"
    )]
    Several(String),
    #[error("{0} cannot be required; a MeshTLSAuthentication, ServiceAccount or NetworkAuthentication can")]
    Unknown(String),
    #[error(
        "a policy cannot apply to {0}; a Server or HTTPRoute of its namespace, or that namespace itself, can be named"
    )]
    Target(String),
}

/// What an AuthorizationPolicy applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    Server(&'a str),
    Namespace,
    /// Group and name.
    HttpRoute(&'a str, &'a str),
}

impl<'a> Target<'a> {
    pub(crate) fn of(policy: &'a AuthorizationPolicy) -> Result<Self, Ignored> {
        let (target, own) = (&policy.target, &*policy.meta.key.namespace);
        let within = target.namespace.as_deref().is_none_or(|namespace| namespace == own);
        match (target.group.as_str(), target.kind.as_str()) {
            (GROUP, "Server") if within => Ok(Self::Server(&target.name)),
            (GROUP | "gateway.networking.k8s.io", "HTTPRoute") if within => {
                Ok(Self::HttpRoute(&target.group, &target.name))
            }
            ("", "Namespace") if target.name == own => Ok(Self::Namespace),
            _ => Err(Ignored::Target(format!("{} {}", target.kind, target.key(own)))),
        }
    }
}

/// Everyone whom the Server's port admits.
pub(crate) fn of_server(world: &World, config: &Config, server: &Server) -> Arc<[Authorization]> {
    let namespace = &*server.meta.key.namespace;
    let by_server = World::in_namespace(&world.server_authorizations, namespace)
        .filter(|authorization| selects(&authorization.server, server))
        .map(|authorization| server_authorization(config, authorization));
    let by_policy = policies(world, config, namespace, |target| match target {
        Target::Server(name) => *name == *server.meta.key.name,
        Target::Namespace => true,
        Target::HttpRoute(..) => false,
    });
    let by_default = server.access_policy.map(|policy| policy.authorizations(&config.cluster_networks, false));
    by_server.chain(by_policy).chain(by_default.iter().flat_map(|list| list.iter().cloned())).collect()
}

/// Whom the route admits beside those whom its Server admits.
pub(crate) fn of_route(world: &World, config: &Config, route: &HttpRoute) -> Arc<[Authorization]> {
    let key = &route.meta.key;
    let this = Target::HttpRoute(route.group, &key.name);
    policies(world, config, &key.namespace, |target| target == this).collect()
}

fn policies<'a>(
    world: &'a World,
    config: &'a Config,
    namespace: &str,
    applies: impl Fn(Target<'_>) -> bool + 'a,
) -> impl Iterator<Item = Authorization> + 'a {
    World::in_namespace(&world.authorization_policies, namespace)
        .filter(move |policy| Target::of(policy).is_ok_and(&applies))
        .filter_map(|policy| authorization_policy(world, config, policy).ok())
}

fn selects(server: &ServerMatch, candidate: &Server) -> bool {
    match server {
        ServerMatch::Name(name) => *name == *candidate.meta.key.name,
        ServerMatch::Selector(selector) => selector.matches(&candidate.meta.labels),
    }
}

fn server_authorization(config: &Config, object: &ServerAuthorization) -> Authorization {
    let key = &object.meta.key;
    let cluster = || config.cluster_networks.iter().copied().map(NetworkMatch::all_of).collect();
    Authorization {
        meta: Meta::object(GROUP, "serverauthorization", &key.namespace, &key.name),
        networks: if object.networks.is_empty() { cluster() } else { object.networks.clone().into() },
        authentication: match &object.client {
            Client::Unauthenticated => Authentication::Unauthenticated,
            Client::TlsUnauthenticated => Authentication::TlsUnauthenticated,
            Client::Authenticated { identities, service_accounts } => {
                let accounts = service_accounts.iter().flat_map(|key| service_account(config, key));
                Authentication::TlsAuthenticated(identities.iter().cloned().chain(accounts).collect())
            }
        },
    }
}

/// Whom the policy admits: those who meet every requirement. One that cannot be met as written admits nobody.
pub(crate) fn authorization_policy(
    world: &World,
    config: &Config,
    policy: &AuthorizationPolicy,
) -> Result<Authorization, Ignored> {
    let key = &policy.meta.key;
    let (mut identities, mut networks) = (None, None);
    for required in &policy.required {
        let object = required.key(&key.namespace);
        let repeated = match (required.group.as_str(), required.kind.as_str()) {
            (GROUP, "MeshTLSAuthentication") => {
                let found = find(&world.mesh_tls_authentications, "MeshTLSAuthentication", object)?;
                identities.replace(mesh_tls(config, found)).is_some()
            }
            ("", "ServiceAccount") => identities.replace(service_account(config, &object).collect()).is_some(),
            (GROUP, "NetworkAuthentication") => {
                let found = find(&world.network_authentications, "NetworkAuthentication", object)?;
                networks.replace(found.networks.as_slice().into()).is_some()
            }
            _ => return Err(Ignored::Unknown(format!("{} {object}", required.kind))),
        };
        if repeated {
            return Err(Ignored::Several(required.kind.clone()));
        }
    }
    Ok(Authorization {
        meta: Meta::object(GROUP, "authorizationpolicy", &key.namespace, &key.name),
        networks: networks.unwrap_or_else(everywhere),
        authentication: identities.map_or(Authentication::Unauthenticated, Authentication::TlsAuthenticated),
    })
}

fn find<'a, T>(objects: &'a BTreeMap<Key, Arc<T>>, kind: &'static str, key: Key) -> Result<&'a Arc<T>, Ignored> {
    objects.get(&key).ok_or(Ignored::Missing { kind, key })
}

fn everywhere() -> Arc<[NetworkMatch]> {
    [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())].map(NetworkMatch::all_of).into()
}

fn mesh_tls(config: &Config, object: &MeshTlsAuthentication) -> Arc<[IdentityMatch]> {
    let own = &object.meta.key.namespace;
    let by_reference = object.identity_refs.iter().flat_map(|reference| referenced(config, reference, own));
    object.identities.iter().cloned().chain(by_reference).collect()
}

/// The identities that a reference stands for; a kind that has none stands for nobody.
fn referenced(config: &Config, reference: &ObjectRef, own: &str) -> Vec<IdentityMatch> {
    match (reference.group.as_str(), reference.kind.as_str()) {
        ("", "ServiceAccount") => service_account(config, &reference.key(own)).collect(),
        ("", "Namespace") => namespace(config, &reference.name),
        _ => Vec::new(),
    }
}

/// A ServiceAccount under both of its names: by SPIFFE id as SPIRE issues it, by DNS name as Linkerd does.
fn service_account(config: &Config, account: &Key) -> impl Iterator<Item = IdentityMatch> + use<> {
    let names = config.names.service_account(&account.namespace, &account.name);
    names.into_iter().map(|identity| IdentityMatch::Exact(identity.as_str().into()))
}

/// Every ServiceAccount of a namespace, under both names. A form that the name cannot take is left out.
fn namespace(config: &Config, name: &str) -> Vec<IdentityMatch> {
    let names = &config.names;
    let spiffe: Option<SpiffeId> = format!("spiffe://{}/ns/{name}", names.trust_domain).parse().ok();
    let (control_plane, domain) = (&names.control_plane_namespace, &names.identity_domain);
    let dns: Option<DnsName> = format!("{name}.serviceaccount.identity.{control_plane}.{domain}").parse().ok();
    let spiffe = spiffe.map(|id| IdentityMatch::SpiffePrefix(id.as_str().into()));
    spiffe.into_iter().chain(dns.map(|dns| IdentityMatch::DnsSuffix(dns.as_str().into()))).collect()
}
