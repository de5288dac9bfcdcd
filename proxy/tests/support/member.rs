//! Who takes part, with the names of the guide: a pod, a VM, another pod, and the control plane.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

pub(crate) const TRUST_DOMAIN: &str = "root.linkerd.cluster.local";
/// The group that may use the Workload API's socket.
pub(crate) const GROUP: u32 = 2300;

/// A machine with an application and a proxy.
pub(crate) struct Member {
    /// The machine's name in the network.
    pub host: &'static str,
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
    /// The proxy's user; applications run as root.
    pub uid: u32,
    /// The SPIFFE id in its SVID.
    pub id: &'static str,
    /// What peers send as SNI.
    pub server_name: &'static str,
    pub kind: Kind,
    /// The object's name.
    pub name: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Its SVID has the server name as a DNS SAN, and controllers know it by that name.
    Pod,
    /// Controllers know it by its SPIFFE id.
    ExternalWorkload,
}

/// The one who asks.
pub(crate) const CLIENT: Member = Member {
    host: "client",
    v4: Ipv4Addr::new(10, 77, 0, 20),
    v6: Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 20),
    uid: 2301,
    id: "spiffe://root.linkerd.cluster.local/ns/mixed-env/sa/client",
    server_name: "client.mixed-env.serviceaccount.identity.linkerd.cluster.local",
    kind: Kind::Pod,
    name: "client",
};
/// The one who answers, a VM.
pub(crate) const SERVER: Member = Member {
    host: "server",
    v4: Ipv4Addr::new(10, 77, 0, 30),
    v6: Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 30),
    uid: 2302,
    id: "spiffe://root.linkerd.cluster.local/external-workload",
    server_name: "external-workload.cluster.local",
    kind: Kind::ExternalWorkload,
    name: "external-workload",
};
/// A second one who answers, a pod; see [`super::Mesh::add`].
pub(crate) const OTHER: Member = Member {
    host: "other",
    v4: Ipv4Addr::new(10, 77, 0, 31),
    v6: Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 31),
    uid: 2303,
    id: "spiffe://root.linkerd.cluster.local/ns/mixed-env/sa/other",
    server_name: "other.mixed-env.serviceaccount.identity.linkerd.cluster.local",
    kind: Kind::Pod,
    name: "other",
};
pub(crate) const MEMBERS: [&Member; 3] = [&CLIENT, &SERVER, &OTHER];

/// The machine of both controllers, which has no proxy.
pub(crate) const CONTROL: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
pub(crate) const CONTROL_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);
/// What both controllers prove to be.
pub(crate) const CONTROLLERS: &str = "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local";
pub(crate) const CONTROLLERS_ID: &str = "spiffe://root.linkerd.cluster.local/ns/linkerd/sa/linkerd-destination";
/// Where proxies look for them.
pub(crate) const DESTINATION: (&str, u16) = ("linkerd-dst-headless.linkerd.svc.cluster.local", 8086);
pub(crate) const POLICY: (&str, u16) = ("linkerd-policy.linkerd.svc.cluster.local", 8090);

impl Member {
    pub(crate) fn addr(&self, port: u16) -> SocketAddr {
        (self.v4, port).into()
    }

    pub(crate) fn addr_v6(&self, port: u16) -> SocketAddr {
        (self.v6, port).into()
    }

    /// `LINKERD2_PROXY_POLICY_WORKLOAD` (A.3.2).
    pub(crate) fn workload(&self) -> String {
        let Self { kind, name, .. } = self;
        let kind = if *kind == Kind::Pod { "pod" } else { "external_workload" };
        format!(r#"{{"ns":"mixed-env","{kind}":"{name}"}}"#)
    }

    /// `LINKERD2_PROXY_DESTINATION_CONTEXT` (B.3).
    pub(crate) fn context(&self) -> String {
        self.workload().replacen(',', &format!(r#","nodeName":"{}-node","#, self.host), 1)
    }

    /// The guide's environment, with pauses between attempts that suit a test.
    pub(crate) fn environment(&self, socket: &str, anchors: &str) -> Vec<(&'static str, String)> {
        let control = |(name, port): (&str, u16)| format!("{name}.:{port}");
        vec![
            ("IDENTITY_SERVER_ID", self.id.into()),
            ("IDENTITY_SERVER_NAME", self.server_name.into()),
            ("IDENTITY_SPIRE_SOCKET", format!("unix://{socket}")),
            ("IDENTITY_TRUST_ANCHORS", anchors.into()),
            ("POLICY_WORKLOAD", self.workload()),
            ("POLICY_SVC_ADDR", control(POLICY)),
            ("POLICY_SVC_NAME", CONTROLLERS.into()),
            ("DESTINATION_CONTEXT", self.context()),
            ("DESTINATION_SVC_ADDR", control(DESTINATION)),
            ("DESTINATION_SVC_NAME", CONTROLLERS.into()),
            ("OUTBOUND_CONNECT_EXP_BACKOFF_MIN", "50ms".into()),
            ("OUTBOUND_CONNECT_EXP_BACKOFF_MAX", "200ms".into()),
            ("LOG_FORMAT", "json".into()),
        ]
    }
}
