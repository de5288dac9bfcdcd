//! gRPC under mutual TLS: what the controllers listen with, and what asks them.

mod client;
mod server;

use tokio::io::{AsyncRead, AsyncWrite};

pub use client::{ControlAddr, InvalidControlAddr, channel};
pub use server::{Caller, ServerIo, incoming};

/// A connection, encrypted or not. Boxed: control streams are few and slow.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<IO: AsyncRead + AsyncWrite + Send + Unpin> Duplex for IO {}

#[cfg(test)]
mod tests;
