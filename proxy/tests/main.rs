//! The proxy's program from outside: on real iptables in namespaces, under controllers that say what a test tells them.
//!
//! Needs root, iproute2, iptables, util-linux and openssl.
#![cfg(test)]

mod admin;
mod balance;
mod discovery;
mod ipv6;
mod lifecycle;
mod loops;
mod metrics;
mod opaque;
mod plaintext;
mod policy;
mod protocols;
mod refusals;
mod support;
mod transparency;
