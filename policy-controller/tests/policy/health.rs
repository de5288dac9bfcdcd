//! What any gRPC tool may ask the server: is it well, and what does it serve?

use crate::controller::*;
use crate::support::*;
use std::time::Duration;
use tokio::time::timeout;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

const INBOUND: &str = "io.linkerd.proxy.inbound.InboundServerPolicies";
const OUTBOUND: &str = "io.linkerd.proxy.outbound.OutboundPolicies";

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.into() }
}

#[tokio::test]
async fn c_2_each_service_is_healthy_until_the_drain_which_watchers_hear() {
    let controller = Controller::plaintext(&[WEB]).await;
    let mut client = HealthClient::new(controller.neighbour());
    for service in ["", INBOUND, OUTBOUND] {
        let answer = client.check(of(service)).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    assert_eq!(client.check(of("nobody")).await.unwrap_err().code(), Code::NotFound);

    let mut stream = client.watch(of(OUTBOUND)).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    controller.drain.send_replace(true);
    let end = async {
        let mut last = None::<HealthCheckResponse>;
        while let Some(answer) = stream.message().await.unwrap() {
            last = Some(answer);
        }
        assert_eq!(last.expect("a last word").status(), ServingStatus::NotServing);
    };
    timeout(Duration::from_secs(10), end).await.expect("the stream's end in time");
    let served = timeout(Duration::from_secs(10), controller.served).await.expect("an end in time");
    assert!(served.unwrap().is_ok());
}

async fn reflected(client: &Controller, request: MessageRequest) -> MessageResponse {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(request) };
    let mut client = ServerReflectionClient::new(client.neighbour());
    let answers = client.server_reflection_info(futures::stream::iter([request])).await;
    answers.unwrap().into_inner().message().await.unwrap().unwrap().message_response.unwrap()
}

#[tokio::test]
async fn c_2_the_services_and_their_messages_can_be_listed() {
    let controller = Controller::plaintext(&[WEB]).await;
    let MessageResponse::ListServicesResponse(list) =
        reflected(&controller, MessageRequest::ListServices(String::new())).await
    else {
        panic!()
    };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(names, [INBOUND, OUTBOUND, "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"]);
    for symbol in names.into_iter().chain(["io.linkerd.proxy.outbound.TrafficSpec"]) {
        let answer = reflected(&controller, MessageRequest::FileContainingSymbol(symbol.into())).await;
        assert!(matches!(answer, MessageResponse::FileDescriptorResponse(_)), "{symbol}: {answer:?}");
    }
}
