//! The identities by which a workload of the cluster proves who it is.

use crate::{Key, World};
use outrigger_model::{DnsName, Identity, SpiffeId, TrustDomain, WorkloadKind, WorkloadRef};

/// The names from which a ServiceAccount's identities are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityNames {
    /// `linkerd`
    pub control_plane_namespace: String,
    /// `cluster.local`
    pub identity_domain: String,
    /// `root.linkerd.cluster.local`
    pub trust_domain: TrustDomain,
}

impl IdentityNames {
    /// Both names of a ServiceAccount: the SPIFFE id, and the DNS name that Linkerd gives it. A form that the account's
    /// name cannot take is left out: nobody can prove it.
    pub fn service_account(&self, namespace: &str, account: &str) -> Vec<Identity> {
        let spiffe = SpiffeId::service_account(&self.trust_domain, namespace, account).map(Identity::Spiffe);
        let dns = DnsName::service_account(account, namespace, &self.control_plane_namespace, &self.identity_domain);
        spiffe.into_iter().chain(dns.map(Identity::Dns)).collect()
    }
}

impl World {
    /// What a caller must prove, any one of them, to speak for the workload; `None` where there is no such workload.
    pub fn identities_of(&self, workload: &WorkloadRef, names: &IdentityNames) -> Option<Vec<Identity>> {
        let key = Key { namespace: workload.namespace.clone(), name: workload.name.clone() };
        match workload.kind {
            WorkloadKind::Pod => {
                let pod = self.pods.get(&key)?;
                Some(names.service_account(&key.namespace, &pod.service_account))
            }
            WorkloadKind::ExternalWorkload => {
                self.external_workloads.get(&key).map(|workload| vec![workload.identity.clone()])
            }
        }
    }
}
