use super::*;
use crate::metrics::Metrics;
use linkerd2_proxy_api::inbound::inbound_server_policies_client::InboundServerPoliciesClient;
use linkerd2_proxy_api::inbound::inbound_server_policies_server::{InboundServerPolicies, InboundServerPoliciesServer};
use linkerd2_proxy_api::inbound::{PortSpec, Server};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request};

type Messages = mpsc::Receiver<Result<Server, Status>>;

/// A controller whose only stream says what the test sends.
struct Scripted(Mutex<Option<Messages>>);

#[tonic::async_trait]
impl InboundServerPolicies for Scripted {
    type WatchPortStream = ReceiverStream<Result<Server, Status>>;

    async fn get_port(&self, _: Request<PortSpec>) -> Result<Response<Server>, Status> {
        Err(Status::unimplemented("proxies watch"))
    }

    async fn watch_port(&self, _: Request<PortSpec>) -> Result<Response<Self::WatchPortStream>, Status> {
        let messages = self.0.lock().take().expect("one stream");
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}

const SHORT: Duration = Duration::from_millis(100);

async fn stream(limits: StreamLimits) -> (mpsc::Sender<Result<Server, Status>>, Stream<Server>) {
    let (say, said) = mpsc::channel(1);
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = incoming.local_addr().unwrap();
    let service = InboundServerPoliciesServer::new(Scripted(Mutex::new(Some(said))));
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    let channel = Channel::from_shared(format!("http://{addr}")).unwrap().connect_lazy();
    let calls = Metrics::new(&mut Registry::default()).calls(addr.to_string(), None);
    let controller = Controller { channel: channel.clone(), limits, calls };
    let mut client = InboundServerPoliciesClient::new(channel);
    let stream = controller.open(client.watch_port(PortSpec::default())).await.unwrap();
    (say, stream)
}

async fn within<T>(waiting: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), waiting).await.expect("the limit has not come")
}

#[tokio::test]
async fn a_2_1_a_stream_that_never_speaks_is_an_error() {
    let (_say, mut silent) = stream(StreamLimits { initial: Some(SHORT), ..StreamLimits::default() }).await;
    assert_eq!(within(silent.message()).await.unwrap_err().code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_2_1_a_stream_that_falls_silent_or_grows_old_ends_well() {
    let limits = StreamLimits { idle: Some(SHORT), ..StreamLimits::default() };
    let (say, mut quiet) = stream(limits).await;
    say.send(Ok(Server::default())).await.unwrap();
    assert!(within(quiet.message()).await.unwrap().is_some());
    assert_eq!(within(quiet.message()).await.unwrap(), None, "it has said nothing since");

    let (say, mut old) = stream(StreamLimits { lifetime: Some(SHORT), ..StreamLimits::default() }).await;
    tokio::spawn(async move { while say.send(Ok(Server::default())).await.is_ok() {} });
    while within(old.message()).await.unwrap().is_some() {}
}

#[tokio::test]
async fn a_stream_without_limits_is_the_controllers_to_end() {
    let (say, mut endless) = stream(StreamLimits::default()).await;
    assert!(timeout(SHORT, endless.message()).await.is_err());
    drop(say);
    assert_eq!(within(endless.message()).await.unwrap(), None);
}
