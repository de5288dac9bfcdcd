//! What a client and an application say to each other passes as it is: through one proxy, which the client knows
//! nothing of, and through two, over IPv4 and IPv6.

mod http1;
mod http2;
mod tcp;
mod trouble;
mod tunnel;
mod ways;
