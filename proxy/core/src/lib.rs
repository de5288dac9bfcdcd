//! Every decision of the proxy as a pure function: bytes or values in, a verdict out. No I/O, no runtime, no clock;
//! where time matters the caller passes `now`.

pub mod authorize;
pub mod balance;
pub mod detect;
pub mod filter;
pub mod header;
pub mod http1;
pub mod outbound;
pub mod rate;
pub mod reply;
pub mod route;
