//! What goes over the wire between two proxies: ours with ours, and ours with one that speaks as a stock proxy does.

mod controllers;
mod grpc;
mod headers;
mod peer;
mod stock_inbound;
mod stock_outbound;
