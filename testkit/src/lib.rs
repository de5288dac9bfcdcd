//! Machines made of network namespaces, the programs in them and the packets between them: for tests, the demo and the benches.
//!
//! A [`Network`] is a switch in a namespace of its own with [`Host`]s around it, so that the machine's own namespace
//! sees nothing but names and two networks may use the same addresses. [`Process`]es run inside hosts and die with the
//! program that started them; what a crash leaves behind is removed by [`Network::sweep`]. A [`Capture`] sees every
//! frame that crosses the switch.

mod capture;
mod command;
mod enter;
mod error;
mod flow;
mod host;
mod lock;
mod network;
mod process;
mod recorded;
mod wait;

pub use capture::{Capture, Frame, Packets};
pub use enter::run_in;
pub use error::Error;
pub use flow::{Flow, Stream};
pub use host::Host;
pub use network::Network;
pub use process::{Process, Program};
pub use recorded::recorded;
pub use wait::wait_for;
