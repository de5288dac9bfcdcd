//! Who takes part: five machines, their addresses, users and identities, and the guide's environment for each proxy.

use outrigger_model::WorkloadRef;
use serde_json::json;

/// The trust domain of every identity in the demo.
pub(crate) const TRUST_DOMAIN: &str = "root.linkerd.cluster.local";
/// The namespace of the guide's objects.
pub(crate) const NAMESPACE: &str = "mixed-env";
/// The group that may use the Workload API's socket.
pub(crate) const GROUP: u32 = 2102;
/// The machine of both controllers and of the issuer.
pub(crate) const CONTROL_PLANE: &str = "control-plane";
pub(crate) const CONTROL_PLANE_ADDRESS: &str = "10.77.0.2";
/// The user of both controllers, who share one identity as Linkerd's do.
pub(crate) const CONTROLLERS_UID: u32 = 2110;
/// What Services without a clusterIP get theirs out of.
pub(crate) const SERVICE_CIDR: &str = "10.96.0.0/12";
/// The names that proxies know the controllers by; headless Services, so they resolve to the machine itself.
pub(crate) const CONTROLLER_NAMES: [&str; 2] =
    ["linkerd-dst-headless.linkerd.svc.cluster.local", "linkerd-policy.linkerd.svc.cluster.local"];

/// The machine outside the cluster.
pub(crate) const VM: Workload = Workload {
    host: "vm",
    address: "10.77.0.10",
    uid: 2102,
    name: "external-workload",
    node: "my-vm",
    is: Kind::ExternalWorkload,
};
/// The pod that only asks.
pub(crate) const CLIENT: Workload = Workload {
    host: "client",
    address: "10.77.0.20",
    uid: 2103,
    name: "client",
    node: "node-a",
    is: Kind::Pod { account: "client" },
};
/// A pod behind both of the guide's Services; it is the one that is ended.
pub(crate) const LEGACY_APP: Workload = Workload {
    host: "legacy-app",
    address: "10.77.0.21",
    uid: 2104,
    name: "legacy-app-6bb4854789-x4wbw",
    node: "node-a",
    is: Kind::Pod { account: "default" },
};
/// The other one.
pub(crate) const LEGACY_APP_CLUSTER: Workload = Workload {
    host: "legacy-cluster",
    address: "10.77.0.22",
    uid: 2105,
    name: "legacy-app-cluster-7d9c5b6f4-2fgcr",
    node: "node-b",
    is: Kind::Pod { account: "default" },
};

/// Every machine with a proxy.
pub(crate) const WORKLOADS: [&Workload; 4] = [&VM, &CLIENT, &LEGACY_APP, &LEGACY_APP_CLUSTER];

/// A machine with an application and a proxy.
pub(crate) struct Workload {
    /// The machine's name in the network.
    pub(crate) host: &'static str,
    pub(crate) address: &'static str,
    /// The proxy's user; the application runs as another.
    pub(crate) uid: u32,
    /// The object's name in the manifests.
    pub(crate) name: &'static str,
    node: &'static str,
    is: Kind,
}

enum Kind {
    Pod { account: &'static str },
    ExternalWorkload,
}

impl Workload {
    /// The SPIFFE id in its SVID.
    pub(crate) fn id(&self) -> String {
        match self.is {
            Kind::Pod { account } => service_account_id(NAMESPACE, account),
            Kind::ExternalWorkload => format!("spiffe://{TRUST_DOMAIN}/external-workload"),
        }
    }

    /// The DNS SAN beside the id, which only pods have.
    pub(crate) fn dns_name(&self) -> Option<String> {
        match self.is {
            Kind::Pod { account } => Some(service_account_name(NAMESPACE, account)),
            Kind::ExternalWorkload => None,
        }
    }

    /// What its application answers.
    pub(crate) fn payload(&self) -> String {
        format!("hello-from-{}", self.name)
    }

    fn reference(&self) -> WorkloadRef {
        match self.is {
            Kind::Pod { .. } => WorkloadRef::pod(NAMESPACE, self.name),
            Kind::ExternalWorkload => WorkloadRef::external(NAMESPACE, self.name),
        }
    }

    /// The guide's environment, and nothing else.
    pub(crate) fn environment(&self, socket: &str, anchors: &str) -> [(&'static str, String); 10] {
        let workload = self.reference().to_json();
        let context = match self.is {
            Kind::Pod { .. } => json!({ "ns": NAMESPACE, "nodeName": self.node, "pod": self.name }),
            Kind::ExternalWorkload => json!({ "ns": NAMESPACE, "nodeName": self.node, "external_workload": self.name }),
        };
        let controllers = service_account_name("linkerd", "linkerd-destination");
        let [destination, policy] = CONTROLLER_NAMES;
        [
            ("LINKERD2_PROXY_IDENTITY_SERVER_ID", self.id()),
            ("LINKERD2_PROXY_IDENTITY_SERVER_NAME", self.server_name()),
            ("LINKERD2_PROXY_POLICY_WORKLOAD", workload),
            ("LINKERD2_PROXY_DESTINATION_CONTEXT", context.to_string()),
            ("LINKERD2_PROXY_DESTINATION_SVC_ADDR", format!("{destination}.:8086")),
            ("LINKERD2_PROXY_DESTINATION_SVC_NAME", controllers.clone()),
            ("LINKERD2_PROXY_POLICY_SVC_NAME", controllers),
            ("LINKERD2_PROXY_POLICY_SVC_ADDR", format!("{policy}.:8090")),
            ("LINKERD2_PROXY_IDENTITY_SPIRE_SOCKET", format!("unix://{socket}")),
            ("LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS", anchors.to_owned()),
        ]
    }

    fn server_name(&self) -> String {
        self.dns_name().unwrap_or_else(|| "external-workload.cluster.local".to_owned())
    }
}

/// One line of the issuer's registrations: a user and the names that it may prove.
pub(crate) struct Entry {
    pub(crate) uid: u32,
    pub(crate) id: String,
    pub(crate) dns_name: Option<String>,
}

/// What the issuer, ours or SPIRE's, must know: every proxy's user, and the controllers'.
pub(crate) fn entries() -> Vec<Entry> {
    let controllers = Entry {
        uid: CONTROLLERS_UID,
        id: service_account_id("linkerd", "linkerd-destination"),
        dns_name: Some(service_account_name("linkerd", "linkerd-destination")),
    };
    let proxies = WORKLOADS.iter().map(|w| Entry { uid: w.uid, id: w.id(), dns_name: w.dns_name() });
    std::iter::once(controllers).chain(proxies).collect()
}

fn service_account_id(namespace: &str, account: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}/ns/{namespace}/sa/{account}")
}

fn service_account_name(namespace: &str, account: &str) -> String {
    format!("{account}.{namespace}.serviceaccount.identity.linkerd.cluster.local")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l_017_the_vm_has_the_guides_environment() {
        let env: std::collections::BTreeMap<_, _> = VM.environment("/run/s/api.sock", "PEM").into();
        let guide = [
            ("IDENTITY_SERVER_ID", "spiffe://root.linkerd.cluster.local/external-workload"),
            ("IDENTITY_SERVER_NAME", "external-workload.cluster.local"),
            ("DESTINATION_SVC_ADDR", "linkerd-dst-headless.linkerd.svc.cluster.local.:8086"),
            ("DESTINATION_SVC_NAME", "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local"),
            ("POLICY_SVC_NAME", "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local"),
            ("POLICY_SVC_ADDR", "linkerd-policy.linkerd.svc.cluster.local.:8090"),
            ("IDENTITY_SPIRE_SOCKET", "unix:///run/s/api.sock"),
            ("IDENTITY_TRUST_ANCHORS", "PEM"),
        ];
        for (name, value) in guide {
            assert_eq!(env[format!("LINKERD2_PROXY_{name}").as_str()], value);
        }
        let workload = WorkloadRef::parse(&env["LINKERD2_PROXY_POLICY_WORKLOAD"]);
        assert_eq!(workload.unwrap(), WorkloadRef::external("mixed-env", "external-workload"));
        let context = &env["LINKERD2_PROXY_DESTINATION_CONTEXT"];
        assert_eq!(outrigger_model::ContextToken::parse(context).unwrap().node.as_deref(), Some("my-vm"));
    }

    #[test]
    fn each_user_has_one_entry_and_only_pods_have_dns_names() {
        let entries = entries();
        let uids: std::collections::BTreeSet<_> = entries.iter().map(|e| e.uid).collect();
        assert_eq!(uids.len(), entries.len());
        assert_eq!(entries.iter().filter(|e| e.dns_name.is_none()).count(), 1);
    }
}
