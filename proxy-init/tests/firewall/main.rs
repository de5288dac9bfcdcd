//! The rules on the real kernel, with both iptables back ends. Needs root, iproute2, iptables, nftables and util-linux.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod machine;
mod refusals;
mod rules;
mod traffic;
mod uninstall;
