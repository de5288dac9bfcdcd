//! Where a rule, route or backend comes from.

use crate::InvalidMessage;
use linkerd2_proxy_api::meta::{Metadata, Resource, metadata};
use outrigger_model::Meta;

pub(crate) fn meta_to_proto(meta: &Meta) -> Metadata {
    let kind = if meta.is_default() {
        metadata::Kind::Default(meta.name.to_string())
    } else {
        metadata::Kind::Resource(Resource {
            group: meta.group.to_string(),
            kind: meta.kind.to_string(),
            name: meta.name.to_string(),
            namespace: meta.namespace.to_string(),
            section: meta.section.to_string(),
            port: meta.port.unwrap_or_default().into(),
        })
    };
    Metadata { kind: Some(kind) }
}

pub(crate) fn meta_from_proto(metadata: Option<Metadata>) -> Result<Meta, InvalidMessage> {
    match metadata.and_then(|metadata| metadata.kind) {
        None => Err(InvalidMessage::new("metadata.kind", "it is missing or of an unknown kind")),
        Some(metadata::Kind::Default(name)) => Ok(Meta::default_named(&name)),
        Some(metadata::Kind::Resource(r)) => {
            let port = u16::try_from(r.port).map_err(|_| InvalidMessage::new("metadata.port", "it is above 65535"))?;
            let meta = Meta::object(&r.group, &r.kind, &r.namespace, &r.name);
            Ok(Meta { section: r.section.into(), port: (port != 0).then_some(port), ..meta })
        }
    }
}
