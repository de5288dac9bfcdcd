//! Redirects a workload's TCP traffic to the proxy with iptables, in one transaction per address family, reversibly.
//!
//! [`RuleSet::new`] turns [`Options`] into rules as data (linkerd.md D.1). [`Firewall::install`] reads what the kernel
//! holds, plans the difference as one iptables-restore text, applies it and reads back; [`Firewall::uninstall`]
//! removes what is ours.

mod backend;
mod error;
mod firewall;
mod lock;
mod namespace;
mod nat_table;
mod nft;
mod options;
mod plan;
mod rules;

pub use backend::{Mode, Programs};
pub use error::Error;
pub use firewall::Firewall;
pub use namespace::{enter_namespace, set_close_wait_timeout};
pub use options::{InvalidOption, Options, PortRange};
pub use plan::simulate;
pub use rules::{Family, RuleSet};
