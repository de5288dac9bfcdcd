//! Backends: balanced services and single endpoints.

use crate::InvalidMessage;
use crate::destination::{endpoint_from_proto, endpoint_to_proto};
use crate::duration::{duration_from_proto, duration_to_proto, optional_from_proto};
use crate::meta::{meta_from_proto, meta_to_proto};
use linkerd2_proxy_api::outbound::backend::{self as wire, balance_p2c, endpoint_discovery};
use linkerd2_proxy_api::outbound::{self, backend};
use outrigger_model::{Backend, Dispatch, Load, LoadPenalty, Queue};
use std::collections::HashMap;
use std::time::Duration;

/// What stands for the parts of a penalty that a message leaves out (A.2.3).
const PENALTY: LoadPenalty = LoadPenalty {
    rtt: Duration::from_secs(5),
    max_retry_after: Duration::from_secs(300),
    decay: Duration::from_secs(10),
};

pub(super) fn backend_to_proto(backend: &Backend) -> outbound::Backend {
    let kind = match &backend.dispatch {
        Dispatch::Forward(endpoint) => Some(backend::Kind::Forward(endpoint_to_proto(endpoint))),
        Dispatch::Balancer { path, load } => {
            let get = endpoint_discovery::DestinationGet { path: path.to_string() };
            let discovery = wire::EndpointDiscovery { kind: Some(endpoint_discovery::Kind::Dst(get)) };
            let load = Some(load_to_proto(load));
            Some(backend::Kind::Balancer(wire::BalanceP2c { discovery: Some(discovery), load }))
        }
        // Proxies answer what gets past the backend's filters with an error.
        Dispatch::Fail => None,
    };
    let queue = backend.queue.map(|queue| outbound::Queue {
        capacity: queue.capacity,
        failfast_timeout: Some(duration_to_proto(queue.failfast)),
    });
    outbound::Backend { metadata: Some(meta_to_proto(&backend.meta)), queue, kind }
}

pub(super) fn backend_from_proto(message: Option<outbound::Backend>) -> Result<Backend, InvalidMessage> {
    let message = message.ok_or_else(|| InvalidMessage::new("backend", "it is missing"))?;
    read(message).map_err(|e| e.within("backend"))
}

fn read(message: outbound::Backend) -> Result<Backend, InvalidMessage> {
    let dispatch = match message.kind {
        None => Dispatch::Fail,
        Some(backend::Kind::Forward(endpoint)) => {
            let endpoint = endpoint_from_proto(endpoint, &HashMap::new());
            Dispatch::Forward(endpoint.map_err(|e| e.within("forward"))?)
        }
        Some(backend::Kind::Balancer(balancer)) => balancer_from_proto(balancer).map_err(|e| e.within("balancer"))?,
    };
    let queue = |queue: outbound::Queue| {
        let failfast = duration_from_proto("queue.failfast_timeout", queue.failfast_timeout)?;
        Ok(Queue { capacity: queue.capacity, failfast })
    };
    Ok(Backend { meta: meta_from_proto(message.metadata)?, queue: message.queue.map(queue).transpose()?, dispatch })
}

fn balancer_from_proto(balancer: wire::BalanceP2c) -> Result<Dispatch, InvalidMessage> {
    let missing = |field| move || InvalidMessage::new(field, "it is missing or of an unknown kind");
    let discovery = balancer.discovery.and_then(|discovery| discovery.kind);
    let endpoint_discovery::Kind::Dst(get) = discovery.ok_or_else(missing("discovery.kind"))?;
    let path = Some(get.path).filter(|path| !path.is_empty()).ok_or_else(missing("discovery.dst.path"))?;
    Ok(Dispatch::Balancer {
        path: path.into(),
        load: match balancer.load.ok_or_else(missing("load"))? {
            balance_p2c::Load::PeakEwma(ewma) => peak_ewma(ewma).map_err(|e| e.within("peak_ewma"))?,
            balance_p2c::Load::PenaltyPeakEwma(ewma) => penalty(ewma).map_err(|e| e.within("penalty_peak_ewma"))?,
        },
    })
}

fn load_to_proto(load: &Load) -> balance_p2c::Load {
    let (default_rtt, decay) = (Some(duration_to_proto(load.default_rtt)), Some(duration_to_proto(load.decay)));
    match load.penalty {
        None => balance_p2c::Load::PeakEwma(balance_p2c::PeakEwma { default_rtt, decay }),
        Some(penalty) => balance_p2c::Load::PenaltyPeakEwma(balance_p2c::PenaltyPeakEwma {
            default_rtt,
            decay,
            penalty: Some(duration_to_proto(penalty.rtt)),
            max_retry_after: Some(duration_to_proto(penalty.max_retry_after)),
            penalty_decay: Some(duration_to_proto(penalty.decay)),
        }),
    }
}

fn peak_ewma(ewma: balance_p2c::PeakEwma) -> Result<Load, InvalidMessage> {
    Ok(Load {
        default_rtt: duration_from_proto("default_rtt", ewma.default_rtt)?,
        decay: duration_from_proto("decay", ewma.decay)?,
        penalty: None,
    })
}

fn penalty(ewma: balance_p2c::PenaltyPeakEwma) -> Result<Load, InvalidMessage> {
    let penalty = LoadPenalty {
        rtt: optional_from_proto("penalty", ewma.penalty)?.unwrap_or(PENALTY.rtt),
        max_retry_after: optional_from_proto("max_retry_after", ewma.max_retry_after)?
            .unwrap_or(PENALTY.max_retry_after),
        decay: optional_from_proto("penalty_decay", ewma.penalty_decay)?.unwrap_or(PENALTY.decay),
    };
    let load = peak_ewma(balance_p2c::PeakEwma { default_rtt: ewma.default_rtt, decay: ewma.decay })?;
    Ok(Load { penalty: Some(penalty), ..load })
}
