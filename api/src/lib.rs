//! Linkerd's gRPC messages to and from the model: the only place where one becomes the other.
//!
//! Whatever a message may leave out or get wrong is settled here, in the direction that denies: a conversion gives a
//! value of the model that cannot be wrong, or an [`InvalidMessage`] that names the field.

mod duration;
mod grpc_route;
mod http_route;
mod meta;

pub mod destination;
pub mod inbound;
pub mod outbound;

#[cfg(test)]
mod any;

use thiserror::Error;

/// Linkerd's messages and services by name, for gRPC reflection: an encoded `FileDescriptorSet`, made by
/// `cargo run -p xtask -- descriptors`.
pub const FILE_DESCRIPTORS: &[u8] = include_bytes!("../generated/descriptors.bin");

/// A message that means nothing: the path of the field, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{field}: {why}")]
pub struct InvalidMessage {
    pub field: String,
    pub why: String,
}

impl InvalidMessage {
    /// The error of one field.
    pub fn new(field: impl Into<String>, why: impl ToString) -> Self {
        Self { field: field.into(), why: why.to_string() }
    }

    /// The same error, seen from the message that holds the field: `outer.field`.
    #[must_use]
    pub fn within(self, outer: &str) -> Self {
        Self { field: format!("{outer}.{}", self.field), ..self }
    }
}

/// Converts every element; an error names the element by its place in the list.
fn all<In, Out, List: FromIterator<Out>>(
    field: &str,
    list: Vec<In>,
    convert: impl Fn(In) -> Result<Out, InvalidMessage>,
) -> Result<List, InvalidMessage> {
    let one = |(at, item)| convert(item).map_err(|e: InvalidMessage| e.within(&format!("{field}[{at}]")));
    list.into_iter().enumerate().map(one).collect()
}
