//! `InboundServerPolicies`: the policy of an inbound port.
