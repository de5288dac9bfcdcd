//! The destination controller: watch → index → serve.
//!
//! It answers `Destination.Get` and `GetProfile` from the objects of a cluster. [`name`] parses what is asked, [`index`]
//! keeps the answers that somebody follows, [`snapshot`] the messages between them, [`serve`] the streams.

pub mod args;
pub mod authorize;
mod endpoints;
mod grpc;
mod http2;
pub mod index;
mod lookup;
pub mod mesh;
pub mod metrics;
pub mod name;
mod profile;
pub mod serve;
mod slices;
pub mod snapshot;
mod workload;

pub use endpoints::Filter;
pub use lookup::Subject;
pub use slices::computed as computed_slices;
