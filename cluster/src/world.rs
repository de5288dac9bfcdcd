//! Every object, in its latest form.

use crate::{
    AuthorizationPolicy, Change, EndpointSlice, ExternalWorkload, HttpRoute, Key, Kind, MeshTlsAuthentication,
    Namespace, NetworkAuthentication, Node, Object, Pod, Server, ServerAuthorization, Service, ServiceProfile,
};
use std::collections::BTreeMap;
use std::sync::Arc;

macro_rules! world {
    ($($field:ident: $variant:ident($object:ident),)+) => {
        /// The latest of every object, by kind and key.
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct World {
            $(pub $field: BTreeMap<Key, Arc<$object>>,)+
        }

        impl World {
            /// Applies one change; a deletion of what is not there changes nothing.
            pub fn apply(&mut self, change: &Change) {
                match change {
                    $(
                        Change::Upsert(Object::$variant(object)) => {
                            self.$field.insert(object.meta.key.clone(), Arc::clone(object));
                        }
                        Change::Delete(Kind::$variant, key) => {
                            self.$field.remove(key);
                        }
                    )+
                }
            }
        }
    };
}

world! {
    namespaces: Namespace(Namespace),
    nodes: Node(Node),
    services: Service(Service),
    pods: Pod(Pod),
    slices: EndpointSlice(EndpointSlice),
    external_workloads: ExternalWorkload(ExternalWorkload),
    service_profiles: ServiceProfile(ServiceProfile),
    servers: Server(Server),
    server_authorizations: ServerAuthorization(ServerAuthorization),
    authorization_policies: AuthorizationPolicy(AuthorizationPolicy),
    mesh_tls_authentications: MeshTlsAuthentication(MeshTlsAuthentication),
    network_authentications: NetworkAuthentication(NetworkAuthentication),
    http_routes: HttpRoute(HttpRoute),
    gateway_http_routes: GatewayHttpRoute(HttpRoute),
}

impl World {
    /// One namespace's objects of a kind, by name.
    pub fn in_namespace<'a, T>(
        objects: &'a BTreeMap<Key, Arc<T>>,
        namespace: &str,
    ) -> impl Iterator<Item = &'a Arc<T>> + use<'a, T> {
        let first = Key::new(namespace, "");
        objects
            .range(first.clone()..)
            .take_while(move |(key, _)| key.namespace == first.namespace)
            .map(|(_, object)| object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Meta;

    #[test]
    fn a_namespaces_objects_are_its_own_alone() {
        let mut world = World::default();
        for key in [Key::cluster("shop"), Key::cluster("shop-2")] {
            world.apply(&Change::Upsert(Object::Namespace(Arc::new(Namespace { meta: Meta::named(key) }))));
        }
        for (namespace, name) in [("shop", "b"), ("shop", "a"), ("shop-2", "c"), ("sho", "d")] {
            let meta = Meta::named(Key::new(namespace, name));
            let networks = Vec::new();
            let object = Object::NetworkAuthentication(Arc::new(NetworkAuthentication { meta, networks }));
            world.apply(&Change::Upsert(object));
        }
        let names = |namespace| -> Vec<String> {
            World::in_namespace(&world.network_authentications, namespace)
                .map(|o| o.meta.key.name.to_string())
                .collect()
        };
        assert_eq!(
            (names("shop"), names("shop-2"), names("")),
            (vec!["a".into(), "b".into()], vec!["c".into()], vec![])
        );
        assert_eq!(World::in_namespace(&world.namespaces, "").count(), 2);
    }
}
