//! The gRPC service, by hand: tonic's generated one would encode each message again for every stream.

use crate::metrics::Rpc;
use crate::serve::Destination;
use bytes::{BufMut, Bytes};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use linkerd2_proxy_api::destination::GetDestination;
use std::convert::Infallible;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic::server::{Grpc, NamedService, ServerStreamingService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstDecoder;
use tower::Service;

/// Small ones: a stream keeps its encoding buffer for life, and is idle for most of it.
fn buffers() -> BufferSettings {
    BufferSettings::new(512, 32 * 1024)
}

/// A name and a context token are all that anybody may send.
const REQUEST_BYTES: usize = 16 * 1024;

impl NamedService for Destination {
    const NAME: &'static str = "io.linkerd.proxy.destination.Destination";
}

impl Service<http::Request<Body>> for Destination {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let rpc = match request.uri().path().rsplit_once('/') {
            Some((_, "Get")) => Rpc::Get,
            Some((_, "GetProfile")) => Rpc::GetProfile,
            _ => {
                return Box::pin(async { Ok(Status::unimplemented("the service has Get and GetProfile").into_http()) });
            }
        };
        let method = Method { destination: self.clone(), rpc };
        let mut grpc = Grpc::new(Encoded).apply_max_message_size_config(Some(REQUEST_BYTES), None);
        Box::pin(async move { Ok(grpc.server_streaming(method, request).await) })
    }
}

struct Method {
    destination: Destination,
    rpc: Rpc,
}

impl ServerStreamingService<GetDestination> for Method {
    type Response = Bytes;
    type ResponseStream = BoxStream<'static, Result<Bytes, Status>>;
    type Future = std::future::Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<GetDestination>) -> Self::Future {
        let follow = self.destination.follow(self.rpc, &request);
        std::future::ready(follow.map(|follow| {
            let next = |mut follow: crate::serve::Follow| async move {
                Ok(follow.next().await?.map(|message| (message, follow)))
            };
            let stream: Self::ResponseStream = Box::pin(futures::stream::try_unfold(follow, next));
            Response::new(stream)
        }))
    }
}

/// Requests are decoded; responses are bytes already.
struct Encoded;

struct Copy;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = GetDestination;
    type Encoder = Copy;
    type Decoder = ProstDecoder<GetDestination>;

    fn encoder(&mut self) -> Copy {
        Copy
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(buffers())
    }
}

impl Encoder for Copy {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}
