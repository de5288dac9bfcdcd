//! How a request goes on, once a gate has let it through.

use crate::endpoint::Endpoint;
use crate::refused::Refused;
use crate::service::Service;
use outrigger_model::{HeaderModifier, Identity, Refusal};
use outrigger_proxy_core::filter::Filters;
use std::rc::Rc;
use std::sync::Arc;

/// See the module.
pub(crate) struct Chosen {
    pub to: To,
    /// The route's filters, for the request that goes on and the response that comes back.
    pub filters: Option<Arc<Filters>>,
    /// Who the endpoint must be, if the application asked for somebody (`l5d-require-id`).
    pub required_id: Option<Box<[u8]>>,
}

/// Where a request goes on.
pub(crate) enum To {
    Service(Rc<Service>),
    Application,
}

impl Chosen {
    /// Header changes of the request.
    pub(crate) fn changes(&self) -> &[HeaderModifier] {
        self.filters.as_ref().map_or(&[], |filters| &filters.request)
    }

    /// Refuses an endpoint that is not whom the application asked for; one that is not meshed is nobody.
    pub(crate) fn check_identity(&self, endpoint: &Endpoint) -> Result<(), Refused> {
        let Some(required) = &self.required_id else { return Ok(()) };
        match endpoint.identity().map(Identity::as_str) {
            Some(id) if id.as_bytes() == &**required => Ok(()),
            proven => Err(Refused::new(Refusal::RequiredIdentityMissing, proven.unwrap_or("it has none"))),
        }
    }

    /// What a meshed endpoint's proxy is told of the service that was asked for (`l5d-dst-canonical`).
    pub(crate) fn canonical(&self, endpoint: &Endpoint) -> Option<&str> {
        match &self.to {
            To::Service(service) => service.path().filter(|_| endpoint.identity().is_some()),
            To::Application => None,
        }
    }

    /// Whether the request had no choice of endpoints.
    pub(crate) fn is_forward(&self) -> bool {
        matches!(&self.to, To::Service(service) if service.path().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolution::Reach;
    use outrigger_model::TlsIdentity;
    use outrigger_proxy_core::balance::PeakEwma;
    use std::time::Instant;

    fn endpoint(id: Option<&str>) -> Rc<Endpoint> {
        let tls =
            id.map(|id| TlsIdentity { id: id.parse().unwrap(), server_name: Some("web.example".parse().unwrap()) });
        let address = outrigger_model::Endpoint::unmeshed("10.0.0.1:80".parse().unwrap());
        let reach = Reach::Endpoint(outrigger_model::Endpoint { tls, ..address });
        Endpoint::new(reach, PeakEwma::new(Instant::now()))
    }

    #[test]
    fn a_1_9_l5d_require_id_is_enforced() {
        let chosen = |required: Option<&str>| Chosen {
            to: To::Application,
            filters: None,
            required_id: required.map(|id| id.as_bytes().into()),
        };
        let web = "spiffe://td/ns/prod/sa/web";
        assert!(chosen(None).check_identity(&endpoint(None)).is_ok(), "nobody was asked for");
        assert!(chosen(Some(web)).check_identity(&endpoint(Some(web))).is_ok());
        for other in [None, Some("spiffe://td/ns/prod/sa/we"), Some("web.example")] {
            let refused = chosen(Some(web)).check_identity(&endpoint(other)).unwrap_err();
            assert_eq!(refused.refusal, Refusal::RequiredIdentityMissing, "{other:?}");
        }
    }
}
