//! The two streaming calls: whom the socket attests, what they get, and when they get the next.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Response, Status};

use super::entries::Entry;
use super::issuer::{Ca, Leaf};
use super::proto::spiffe_workload_api_server::SpiffeWorkloadApi;
use super::proto::{X509BundlesRequest, X509BundlesResponse, X509svid, X509svidRequest, X509svidResponse};

/// What the files said last.
pub(super) struct State {
    pub(super) entries: Vec<Entry>,
    pub(super) ca: Arc<Ca>,
}

pub(super) struct Service {
    pub(super) state: watch::Receiver<Arc<State>>,
    pub(super) ttl: Duration,
}

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl SpiffeWorkloadApi for Service {
    type FetchX509SVIDStream = Messages<X509svidResponse>;
    type FetchX509BundlesStream = Messages<X509BundlesResponse>;

    async fn fetch_x509svid(
        &self,
        request: Request<X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        let ttl = self.ttl;
        let messages = self.stream(&request, Some(ttl / 2), move |uid, grant| svids(uid, grant, ttl))?;
        Ok(Response::new(messages))
    }

    async fn fetch_x509_bundles(
        &self,
        request: Request<X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        Ok(Response::new(self.stream(&request, None, |_, grant| Ok(bundles(grant)))?))
    }
}

/// What one caller may have.
#[derive(Clone)]
struct Grant {
    entries: Vec<Entry>,
    ca: Arc<Ca>,
}

impl Grant {
    /// The entries of `uid`; without any there is no answer (Workload API §6.2.2).
    fn of(uid: u32, state: &State) -> Result<Self, Status> {
        let entries: Vec<_> = state.entries.iter().filter(|entry| entry.uid == uid).cloned().collect();
        if entries.is_empty() {
            tracing::warn!(event = "identity.none_issued", uid, "no entry is for the caller's uid");
            return Err(Status::permission_denied("no identity issued"));
        }
        Ok(Self { entries, ca: state.ca.clone() })
    }

    fn differs(&self, other: &Self) -> bool {
        self.entries != other.entries || !Arc::ptr_eq(&self.ca, &other.ca)
    }
}

impl Service {
    /// One message now, and another whenever the caller's grant changes or `every` has passed.
    fn stream<R, T: Send + 'static>(
        &self,
        request: &Request<R>,
        every: Option<Duration>,
        message: impl Fn(u32, &Grant) -> Result<T, Status> + Send + 'static,
    ) -> Result<Messages<T>, Status> {
        let uid = attest(request)?;
        let mut state = self.state.clone();
        let mut grant = Grant::of(uid, &state.borrow_and_update())?;
        let first = message(uid, &grant)?;
        // One message waits for a slow reader, and no more: it gets the newest when it reads again.
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut next = Ok(first);
            loop {
                let last = next.is_err();
                if sender.send(next).await.is_err() || last {
                    return;
                }
                let due = sleep(every.unwrap_or(Duration::MAX));
                next = tokio::select! {
                    () = sender.closed() => return,
                    () = due => message(uid, &grant),
                    changed = changed(&mut state, uid, &grant) => match changed {
                        None => return,
                        Some(Err(status)) => Err(status),
                        Some(Ok(new)) => {
                            grant = new;
                            message(uid, &grant)
                        }
                    },
                };
            }
        });
        Ok(Box::pin(ReceiverStream::new(receiver)))
    }
}

/// Waits for a grant other than `held`; none when the server stops.
async fn changed(state: &mut watch::Receiver<Arc<State>>, uid: u32, held: &Grant) -> Option<Result<Grant, Status>> {
    loop {
        state.changed().await.ok()?;
        match Grant::of(uid, &state.borrow_and_update()) {
            Ok(grant) if !grant.differs(held) => {}
            other => return Some(other),
        }
    }
}

/// The caller's uid, as the kernel knows it (SO_PEERCRED).
fn attest<R>(request: &Request<R>) -> Result<u32, Status> {
    // Workload API §5: the header keeps a request out that someone made a workload's HTTP client send.
    if request.metadata().get("workload.spiffe.io").is_none_or(|value| value != "true") {
        return Err(Status::invalid_argument("security header missing from request: workload.spiffe.io: true"));
    }
    let credentials = request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
    credentials.map(|credentials| credentials.uid()).ok_or_else(|| Status::permission_denied("the caller has no uid"))
}

fn svids(uid: u32, grant: &Grant, ttl: Duration) -> Result<X509svidResponse, Status> {
    let bundle = grant.ca.authorities().concat();
    let svids = grant.entries.iter().map(|entry| {
        let svid = grant.ca.issue(&Leaf::svid(&entry.id, &entry.dns_names, ttl)).map_err(|error| {
            tracing::error!(event = "svid.not_issued", uid, id = %entry.id, %error, "an SVID could not be signed");
            Status::internal("the SVID could not be signed")
        })?;
        tracing::info!(event = "svid.issued", uid, id = %entry.id, ttl = ttl.as_secs(), "an SVID was issued");
        Ok(X509svid {
            spiffe_id: entry.id.to_string(),
            x509_svid: svid.chain.concat(),
            x509_svid_key: svid.key,
            bundle: bundle.clone(),
            hint: String::new(),
        })
    });
    Ok(X509svidResponse { svids: svids.collect::<Result<_, Status>>()?, ..X509svidResponse::default() })
}

fn bundles(grant: &Grant) -> X509BundlesResponse {
    let bundle = (format!("spiffe://{}", grant.ca.trust_domain()), grant.ca.authorities().concat());
    X509BundlesResponse { bundles: [bundle].into(), ..X509BundlesResponse::default() }
}
