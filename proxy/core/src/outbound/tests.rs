use super::*;
use proptest::prelude::*;

const DETECT: Duration = Duration::from_secs(10);

fn addr() -> SocketAddr {
    "10.0.0.1:80".parse().unwrap()
}

fn service(opaque: bool) -> Answer<Profile> {
    Answer::Known(Profile { service: Some("web.ns.svc.cluster.local".into()), opaque, ..Profile::default() })
}

fn joined(profile: &Answer<Profile>, policy: &Answer<OutboundPolicy>) -> Option<Result<OutboundPolicy, Refusal>> {
    join(addr(), profile, policy, DETECT)
}

fn known() -> Answer<OutboundPolicy> {
    Answer::Known(through(Dispatch::Fail, false, DETECT))
}

fn dispatch(policy: &OutboundPolicy) -> &Dispatch {
    let routes = match &policy.protocol {
        OutboundProtocol::Detect { opaque, .. } | OutboundProtocol::Opaque(opaque) => opaque,
        other => panic!("{other:?}"),
    };
    match &routes[0].rule.backends {
        Distribution::FirstAvailable(backends) => &backends[0].backend.dispatch,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_1_6_a_policy_stands_above_a_profile() {
    for profile in [service(false), Answer::Failing, Answer::Absent] {
        let policy = joined(&profile, &known()).unwrap().unwrap();
        assert_eq!(dispatch(&policy), &Dispatch::Fail, "{profile:?}");
    }
    let opaque = joined(&service(true), &known()).unwrap().unwrap();
    assert!(matches!(opaque.protocol, OutboundProtocol::Opaque(_)), "a profile may make the port opaque");
}

#[test]
fn a_1_6_where_no_policy_is_known_the_profile_decides() {
    let policy = joined(&service(false), &Answer::Absent).unwrap().unwrap();
    assert!(matches!(dispatch(&policy), Dispatch::Balancer { path, .. } if &**path == "web.ns.svc.cluster.local:80"));
    let endpoint = Endpoint { weight: 7, ..Endpoint::unmeshed("10.0.0.9:8080".parse().unwrap()) };
    let profile = Answer::Known(Profile { endpoint: Some(endpoint.clone()), ..Profile::default() });
    assert_eq!(dispatch(&joined(&profile, &Answer::Absent).unwrap().unwrap()), &Dispatch::Forward(endpoint));
    let neither = Answer::Known(Profile::default());
    assert_eq!(joined(&neither, &Answer::Absent), Some(Err(Refusal::UndefinedPort)));
}

#[test]
fn only_two_absences_mean_not_meshed() {
    let outside = joined(&Answer::Absent, &Answer::Absent).unwrap().unwrap();
    assert_eq!(dispatch(&outside), &Dispatch::Forward(Endpoint::unmeshed(addr())));
    for (profile, policy) in [
        (Answer::Waiting, Answer::Absent),
        (Answer::Failing, Answer::Absent),
        (Answer::Absent, Answer::Waiting),
        (Answer::Absent, Answer::Failing),
        (service(false), Answer::Failing),
        (Answer::Waiting, known()),
    ] {
        assert_eq!(joined(&profile, &policy), None, "{profile:?} {policy:?}");
    }
}

fn list(weights: &[u32]) -> Distribution<()> {
    let backend =
        |port| Backend { meta: Meta::default_named("b").at_port(port), queue: None, dispatch: Dispatch::Fail };
    let with = |(i, w): (usize, &u32)| (*w, RouteBackend { backend: backend(i as u16), filters: vec![] });
    Distribution::RandomAvailable(weights.iter().enumerate().map(with).collect())
}

proptest! {
    #[test]
    fn a_2_2_a_backend_of_no_weight_or_not_ready_is_not_chosen(
        weights in proptest::collection::vec(0u32..4, 1..6), ready: u8, random: u64,
    ) {
        prop_assume!(weights.iter().any(|w| *w > 0));
        let is_ready = |i: usize| ready >> i & 1 == 1;
        let chosen = choose(&list(&weights), random, |b| is_ready(usize::from(b.meta.port.unwrap()))).unwrap();
        prop_assert!(weights[chosen] > 0);
        let any_ready = weights.iter().enumerate().any(|(i, w)| *w > 0 && is_ready(i));
        prop_assert!(is_ready(chosen) || !any_ready);
    }
}

#[test]
fn a_2_2_the_first_available_backend_takes_all() {
    let Distribution::RandomAvailable(list) = list(&[1, 1, 1]) else { unreachable!() };
    let first = Distribution::FirstAvailable(list.iter().map(|(_, b)| b.clone()).collect());
    let from = |ready: u16| choose(&first, u64::MAX, |b: &Backend| b.meta.port.unwrap() >= ready);
    assert_eq!([from(0), from(1), from(2), from(3)], [Some(0), Some(1), Some(2), Some(0)]);
    assert_eq!(choose(&Distribution::<()>::Empty, 0, |_| true), None);
}

#[test]
fn a_2_2_what_is_not_understood_is_refused() {
    let refused = Some(Err(Refusal::PolicyInvalid));
    for profile in [service(false), Answer::Waiting, Answer::Failing, Answer::Absent, Answer::Invalid] {
        assert_eq!(joined(&profile, &Answer::Invalid), refused, "{profile:?}");
    }
    assert_eq!(joined(&Answer::Invalid, &Answer::Absent), refused);
    assert!(joined(&Answer::Invalid, &known()).unwrap().is_ok(), "a policy needs no profile");
}
