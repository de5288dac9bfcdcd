//! The proxy's program from outside: on real iptables in namespaces, under controllers that say what a test tells them.

mod discovery;
mod lifecycle;
mod opaque;
mod plaintext;
mod policy;
mod refusals;
mod support;
