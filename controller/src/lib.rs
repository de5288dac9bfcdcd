//! What both controllers are around their index: flags, log, sockets, and an orderly end.
//!
//! A controller's `main` calls [`program`], its `run` joins the parts and hands them to [`until_stopped`].

mod flags;
mod grpc;
mod health;
mod program;

pub use flags::Flags;
pub use grpc::{ListenError, Services, grpc_addr, listen, serve};
pub use program::{Stop, program, readiness, until_stopped};
