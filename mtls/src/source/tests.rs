//! An agent that sends what cannot be used. (The real one is met in `workload_api`'s tests.)

use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::*;
use crate::peers::{OWN, ca, expired, identity, leaf, wait};
use crate::workload_api::issuer::{Ca, Leaf};
use crate::workload_api::proto::spiffe_workload_api_server::{SpiffeWorkloadApi, SpiffeWorkloadApiServer};
use crate::workload_api::proto::{
    X509BundlesRequest, X509BundlesResponse, X509svid, X509svidRequest, X509svidResponse,
};

const VM: &str = "spiffe://root.linkerd.cluster.local/external-workload";
const WEB: &str = "spiffe://root.linkerd.cluster.local/ns/mixed-env/sa/web";

#[test]
fn anchors_that_are_no_pem_say_so() {
    assert_eq!(parse_anchors(ca(OWN).bundle_pem()).unwrap().len(), 1);
    assert!(parse_anchors("").unwrap_err().to_string().contains("no BEGIN CERTIFICATE"));
    assert!(parse_anchors("-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n").is_err());
}

/// An agent that sends what it is told to.
struct Puppet(parking_lot::Mutex<Option<mpsc::Receiver<Result<X509svidResponse, Status>>>>);

#[tonic::async_trait]
impl SpiffeWorkloadApi for Puppet {
    type FetchX509SVIDStream = ReceiverStream<Result<X509svidResponse, Status>>;
    type FetchX509BundlesStream = ReceiverStream<Result<X509BundlesResponse, Status>>;

    async fn fetch_x509svid(&self, _: Request<X509svidRequest>) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        let messages = self.0.lock().take().ok_or_else(|| Status::unavailable("asked twice"))?;
        Ok(Response::new(messages.into()))
    }

    async fn fetch_x509_bundles(
        &self,
        _: Request<X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        Err(Status::unimplemented(""))
    }
}

#[tokio::test]
async fn an_svid_that_cannot_be_used_leaves_the_old_one() {
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("agent.sock");
    let (send, messages) = mpsc::channel(8);
    let puppet = SpiffeWorkloadApiServer::new(Puppet(parking_lot::Mutex::new(Some(messages))));
    let listener = UnixListenerStream::new(UnixListener::bind(&socket).unwrap());
    tokio::spawn(Server::builder().add_service(puppet).serve_with_incoming(listener));

    let (good, stranger, friend) = (ca(OWN), ca(OWN), ca("other.example"));
    let message = |ca: &Ca, bundle: &Ca, names: Leaf| {
        let svid = ca.issue(&names).unwrap();
        let svid = X509svid {
            spiffe_id: names.uris[0].clone(),
            x509_svid: svid.chain.concat(),
            x509_svid_key: svid.key,
            bundle: bundle.authorities().concat(),
            hint: String::new(),
        };
        let federated_bundles = [("spiffe://other.example".to_owned(), friend.authorities().concat())].into();
        Ok(X509svidResponse { svids: vec![svid], crl: vec![], federated_bundles })
    };
    let api = WorkloadApi { socket, expected_id: Some(identity(WEB)), anchors_pem: None };
    let mut watch = api.follow();
    send.send(message(&good, &good, leaf(&[WEB], &[]))).await.unwrap();
    let first = wait(&mut watch, |_| true).await;

    send.send(message(&stranger, &good, leaf(&[WEB], &[]))).await.unwrap();
    send.send(message(&good, &good, expired(leaf(&[WEB], &[])))).await.unwrap();
    send.send(message(&good, &good, leaf(&[VM], &[]))).await.unwrap();
    send.send(message(&stranger, &stranger, leaf(&[WEB], &["sign.of.the.last"]))).await.unwrap();
    let last = wait(&mut watch, |creds| creds.revision() > first.revision()).await;
    assert_eq!(last.revision(), first.revision() + 1, "nothing between the two was installed");
    assert!(last.names().is(&identity("sign.of.the.last")));

    // The federated bundle came with the message.
    let foreign = friend.issue(&leaf(&["spiffe://other.example/x"], &[])).unwrap().chain.remove(0);
    let now = rustls::pki_types::UnixTime::now();
    assert!(last.roots().verify(&foreign.into(), &[], webpki::KeyUsage::client_auth(), now).is_ok());
}
