//! What of an object's annotations means nothing, though the object can be used.

use crate::error::FieldError;
use crate::{ContainerPort, OPAQUE_PORTS, Object, PortSet, SKIP_INBOUND_PORTS};

/// Entries of port lists that are neither ports nor names of the object's ports. A Namespace has no ports, so that there
/// any name may be meant. The list of ports that need an identity is not among these: it denies, and who decides that
/// says so.
pub(super) fn meaningless(object: &Object) -> Vec<FieldError> {
    let named: Option<Vec<&str>> = match object {
        Object::Pod(pod) => Some(ContainerPort::named(&pod.ports).map(|(name, _)| name).collect()),
        Object::ExternalWorkload(workload) => {
            Some(ContainerPort::named(&workload.ports).map(|(name, _)| name).collect())
        }
        Object::Service(service) => Some(service.named_ports().map(|(name, _)| name).collect()),
        Object::Namespace(_) => None,
        _ => return Vec::new(),
    };
    let lists = &object.meta().ports;
    let skip_inbound =
        lists.skip_inbound.as_ref().filter(|_| !matches!(object, Object::Namespace(_) | Object::Service(_)));
    let lists = [(OPAQUE_PORTS, lists.opaque.as_ref()), (SKIP_INBOUND_PORTS, skip_inbound)];
    let present = lists.into_iter().filter_map(|(annotation, list)| Some((annotation, list?)));
    present.flat_map(|(annotation, list)| of_list(annotation, list, named.as_deref())).collect()
}

fn of_list(annotation: &str, list: &PortSet, named: Option<&[&str]>) -> Vec<FieldError> {
    let at = format!("/metadata/annotations/{}", annotation.replace('/', "~1"));
    let invalid = list.invalid().iter().map(|invalid| format!("{invalid}; the rest of the list holds"));
    let unknown = list.names().iter().filter(|name| named.is_some_and(|named| !named.contains(&name.as_str())));
    let unknown = unknown.map(|name| format!("{name:?} is not the name of a TCP port here; it has no effect"));
    invalid.chain(unknown).map(|problem| FieldError::new(at.clone(), problem)).collect()
}
