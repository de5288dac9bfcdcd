//! The controller from outside: worlds made of manifests, questions, and the messages that proxies get.
#![cfg(test)]

mod authorize;
mod endpoints;
mod follow;
mod profile;
mod program;
mod property;
mod recorded;
mod serve;
mod service_profile;
mod topology;
mod world;
