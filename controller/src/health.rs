//! What every gRPC server tells of itself: `grpc.health.v1.Health`, and reflection for tools that list and call methods.

use tonic_health::ServingStatus;
use tonic_health::pb::FILE_DESCRIPTOR_SET as HEALTH;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_health::server::{HealthReporter, health_reporter};
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};
use tonic_reflection::server::{Builder, Error};

/// The server as a whole.
const WHOLE: &str = "";

/// The health of a server: serving, until it ends.
pub(crate) struct Health {
    reporter: HealthReporter,
    names: &'static [&'static str],
}

impl Health {
    /// Everything serves.
    pub(crate) async fn of(names: &'static [&'static str]) -> (Self, HealthServer<impl health_server::Health>) {
        let (reporter, server) = health_reporter();
        for name in names {
            reporter.set_service_status(name, ServingStatus::Serving).await;
        }
        (Self { reporter, names }, server)
    }

    /// Nothing serves any more; whoever watches hears it, and its stream ends.
    pub(crate) async fn end(mut self) {
        for name in self.names.iter().chain([&WHOLE]) {
            self.reporter.set_service_status(name, ServingStatus::NotServing).await;
            self.reporter.clear_service_status(name).await;
        }
    }
}

/// Says what the services' methods and messages are.
pub(crate) fn reflection(
    names: &[&str],
    descriptors: &[u8],
) -> Result<ServerReflectionServer<impl ServerReflection>, Error> {
    let own = ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"];
    let builder = Builder::configure().register_encoded_file_descriptor_set(descriptors);
    let builder = builder.register_encoded_file_descriptor_set(HEALTH);
    names.iter().chain(&own).fold(builder, |builder, name| builder.with_service_name(*name)).build_v1()
}
