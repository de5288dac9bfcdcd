//! What the contract demands for interoperation, section by section: what a peer would notice if it were otherwise.

/// A part of the contract and its rows.
pub(super) struct Section {
    /// As tests name it: `a_1_7_…` speaks of `A.1.7`.
    pub id: &'static str,
    pub title: &'static str,
    pub rows: &'static [Row],
}

/// One demand, and parts of the names of the tests that prove it. A test of another section is named in full.
pub(super) type Row = (&'static str, &'static [&'static str]);

pub(super) const SECTIONS: &[Section] = &[
    Section {
        id: "A.1",
        title: "Accepting connections",
        rows: &[
            ("NODELAY, keepalive and user timeout are set; a socket that refuses them is kept", &["nodelay_keepalive"]),
            ("the client's address decides the family of the original destination", &["ipv4_through_dual_stack"]),
            ("a connection without original destination is dropped alone", &["without_original_destination"]),
            (
                "nothing is accepted before there is an identity; /live works",
                &["no_byte_leaves_while_the_workload_api_is_down_and_what_waits_is_served_once_it_is_up"],
            ),
            ("an inbound address that is not the workload's is refused", &["not_the_workloads_own"]),
            (
                "an opaque port skips TLS detection and HTTP detection",
                &["a_1_5_on_an_opaque_port_the_server_may_speak_first"],
            ),
            ("a port of protocol TLS skips HTTP detection", &["behind_terminated_tls"]),
            (
                "no inbound connection targets the proxy's own port",
                &["t_12_loop_own_ports_lead_nowhere", "t_12_loop_a_header_to_the_proxys_own_port_is_refused"],
            ),
        ],
    },
    Section {
        id: "A.1.1",
        title: "TLS detection",
        rows: &[
            (
                "a ClientHello is found however it is cut",
                &["a_hello_of_1_8_kb_over_two_records_is_read", "detection_does_not_depend_on_chunking"],
            ),
            ("what is no ClientHello goes on as plaintext", &["other_bytes_are_not_tls"]),
            ("a client that says nothing is dropped after the timeout", &["says_nothing"]),
        ],
    },
    Section {
        id: "A.1.2",
        title: "Which server name terminates here",
        rows: &[
            ("our server name does", &["a_1_3_a_good_client_comes_in_at_both_doors"]),
            ("another is the application's own", &["tls_for_another_name"]),
        ],
    },
    Section {
        id: "A.1.3",
        title: "The proxy's own port",
        rows: &[
            ("TLS with a client certificate is mandatory", &["wants_tls", "wants_a_certificate"]),
            ("ALPN is exactly transport.l5d.io/v1, and must be negotiated", &["and_its_alpn"]),
            ("no header, or an invalid one, ends the connection", &["garbage_instead_of_a_header"]),
            ("neither name nor session: bytes, to the header's port", &["without_a_session"]),
            (
                "a session: that HTTP version, without detection",
                &[
                    "a_1_8_http1_in_http2_arrives_as_the_http1_that_it_was",
                    "a_1_8_upgrade_and_connect_come_as_http1_of_their_own",
                ],
            ),
            ("a name: a gateway is asked for, which is refused as long as there is none", &["names_a_host"]),
            ("the policy of the header's port decides", &["no_authorization_names"]),
        ],
    },
    Section {
        id: "A.1.4",
        title: "Transport header",
        rows: &[
            (
                "its bytes",
                &[
                    "golden_bytes",
                    "a_1_7_http1_stays_http1",
                    "a_1_7_http2_goes_with_prior_knowledge",
                    "a_1_7_bytes_go_behind_a_header_without_a_session",
                ],
            ),
            (
                "port, name and length are checked; an unknown session is none",
                &["what_is_no_header", "any_prefix_waits"],
            ),
            ("a peer that did not negotiate it gets no byte", &["does_not_negotiate"]),
        ],
    },
    Section {
        id: "A.1.5",
        title: "HTTP detection",
        rows: &[
            ("HTTP/2's preface and HTTP/1's request line are told apart", &["http_versions_are_told_apart"]),
            ("anything else is bytes", &["no_http_are_forwarded"]),
            ("a client that dribbles is detected", &["dribbles"]),
            ("after the timeout the connection is bytes", &["after_the_timeout"]),
            (
                "on an opaque port a server may speak first",
                &["speaks_first_is_heard_at_once", "the_server_may_speak_first"],
            ),
        ],
    },
    Section {
        id: "A.1.6",
        title: "Outbound",
        rows: &[
            (
                "profile and policy are joined: the policy stands above",
                &["a_policy_stands_above", "where_no_policy_is_known"],
            ),
            (
                "NotFound: the profile's endpoint, or a direct forward",
                &["a_2_1_what_is_no_service_is_forwarded_as_it_is"],
            ),
            ("Unimplemented: as NotFound", &["without_outbound_policies"]),
            ("any other error of the policy fails the connection", &["an_error_of_the_policy_controller"]),
            ("with a policy, a profile's error is none", &["a_profile_that_fails"]),
            ("no connection goes to a loopback address", &["no_loopback_address"]),
            (
                "an endpoint of our own is reached without TLS",
                &["a_1_7_an_unusable_identity_is_never_reached_in_plaintext"],
            ),
        ],
    },
    Section {
        id: "A.1.7",
        title: "Connecting to a meshed endpoint",
        rows: &[
            ("TLS where there is an identity; SNI is its server name", &["http1_stays_http1", "port_name_and_header"]),
            ("the server proves the expected identity", &["proves_another_identity"]),
            (
                "an identity that cannot be used is never plaintext",
                &["unusable", "unreadable", "cannot_be_used", "without_server_name"],
            ),
            (
                "ALPN is offered for a header, and none without",
                &["http1_stays_http1", "http2_goes", "neither_alpn_nor_header"],
            ),
            ("port and header follow the endpoint", &["port_name_and_header", "both_transport_modes"]),
            (
                "the session is the HTTP version; none for an opaque endpoint or bytes",
                &["http2_goes", "told_no_session", "bytes_go_behind"],
            ),
            ("HTTP/2 goes with prior knowledge", &["http2_goes_with_prior_knowledge"]),
            ("the endpoint's HTTP/2 parameters override the environment's", &["http2_parameters_override"]),
        ],
    },
    Section {
        id: "A.1.8",
        title: "HTTP/1 in HTTP/2, and HTTP between proxies",
        rows: &[
            (
                "four values say what the request was",
                &["four_values", "arrives_as_the_http1_that_it_was", "becomes_http1_again"],
            ),
            ("an unknown value leaves it HTTP/2", &["none_of_the_four"]),
            (
                "transfer codings go no further; lengths do",
                &["arrives_as_the_http1_that_it_was", "keeps_its_length", "responses_without_a_body"],
            ),
            (
                "Upgrade and CONNECT have connections of their own",
                &["upgrade_and_connect", "upgraded_connection", "connect_that_is_granted", "granted_connect"],
            ),
            ("a reset of an upgraded request is a 502", &["is_a_502_and_never_a_reset"]),
            ("resets of HTTP/2 pass, both ways", &["a_reset_by", "a_reset_in", "resets", "cancels"]),
            ("HTTP/1 passes unchanged", &["http1_passes_unchanged"]),
            ("gRPC passes with messages, trailers and errors", &["unary_call", "messages_arrive", "trailers_alone"]),
        ],
    },
    Section {
        id: "A.1.9",
        title: "Headers of the proxies' own",
        rows: &[
            ("l5d-client-id is ours to say", &["only_from_us"]),
            (
                "what only proxies say reaches no application, and comes from none",
                &["hop_or_only_proxies", "go_no_further", "says_to_a_proxy_alone"],
            ),
            (
                "l5d-proxy-error is told to peers and our own application",
                &["a_1_8_an_application_that_breaks_off_is_a_502_and_never_a_reset"],
            ),
            ("l5d-proxy-connection: close is told to peers, and obeyed", &["told_to_close"]),
            (
                "l5d-dst-canonical is set on logical paths",
                &["dst_canonical", "a_1_7_http1_stays_http1_behind_a_header_that_says_so"],
            ),
            ("l5d-require-id is enforced", &["require_id"]),
        ],
    },
    Section {
        id: "A.1.10",
        title: "Errors of our own",
        rows: &[("status, gRPC status and end, by cause", &["every_cause", "refusals_speak", "is_a_504", "is_a_502"])],
    },
    Section {
        id: "A.2.1",
        title: "Asking the controllers",
        rows: &[
            ("GetProfile, Watch and Get are asked once each, saying who asks", &["asked_for_once"]),
            ("an error is never read as not meshed", &["never_read_as_not_meshed"]),
            ("Add, Remove and NoEndpoints build the set", &["updates_build_the_set", "come_and_go"]),
            ("after a reconnect the first Add resets the set", &["after_a_reconnect"]),
            ("streams have an initial, an idle and a whole time", &["falls_silent", "never_speaks"]),
            (
                "a lost stream keeps what is known and comes back",
                &["no_plaintext_byte_leaves_while_the_controllers_are_down_and_after_they_are_back"],
            ),
            (
                "controllers prove their name; loopback alone is plaintext",
                &["a_controller_of_another_name_is_not_asked", "plaintext_is_for_loopback_and_needs_no_svid"],
            ),
        ],
    },
    Section {
        id: "A.2.2",
        title: "From policy to path",
        rows: &[
            ("each protocol's parts are there, or nothing passes", &["not_understood", "without_a_way"]),
            (
                "the most specific route wins; none is a 404",
                &["the_most_specific_route_wins", "a_1_10_every_cause_has_its_status_its_grpc_status_and_its_end"],
            ),
            ("first available, random available, empty", &["first_available", "not_chosen"]),
            ("filters apply, and unknown ones refuse", &["filter"]),
        ],
    },
    Section { id: "A.2.3", title: "Balancing", rows: &[] },
    Section { id: "A.2.4", title: "Circuit breaking", rows: &[] },
    Section { id: "A.2.5", title: "Retries and timeouts", rows: &[] },
    Section {
        id: "A.3.1",
        title: "Inbound policies",
        rows: &[
            ("a port's policy is followed, and waited for", &["waits_for_its_ports_policy", "nobody_comes_in"]),
            ("an unused port is forgotten after 90 seconds", &["is_forgotten"]),
            ("a policy that cannot be read closes the port", &["unknown_kind"]),
        ],
    },
    Section {
        id: "A.3.2",
        title: "Workload strings",
        rows: &[("both forms are read, others refused", &["workload_strings"])],
    },
    Section {
        id: "A.3.3",
        title: "Authorization",
        rows: &[
            ("networks and authentication, both", &["c_1_identities_and_networks_are_both_required"]),
            (
                "identities match exactly, by suffix, or any",
                &["identities_match", "every_form_of_identity", "its_own_proof"],
            ),
            ("each request is judged by the newest policy", &["turns_requests_on_a_live_connection"]),
            ("bytes end when their authorization does", &["ends_a_live_opaque_connection"]),
            ("the six default policies", &["six_default_policies", "set_by_hand"]),
        ],
    },
    Section { id: "A.3.4", title: "Rate limits", rows: &[] },
    Section { id: "A.3.5", title: "Probes", rows: &[] },
    Section {
        id: "A.4",
        title: "Identity and TLS",
        rows: &[
            ("TLS 1.3 alone", &["a_client_of_tls12_is_refused", "the_handshake_is_tls13_with_ml_kem"]),
            ("X25519MLKEM768 and the classic groups", &["a_client_without_ml_kem_is_served"]),
            ("certificates of every usual key verify", &["a_peers_key_may_be_p256_p384_ed25519_or_rsa"]),
            (
                "no SVID is installed that is not ours",
                &["other_than_our_own", "an_svid_that_does_not_verify_is_not_installed"],
            ),
            ("a late or restarted agent is waited for", &["go_away_and_come_back", "a_late_agent_is_waited_for"]),
        ],
    },
    Section { id: "A.5", title: "Admin, metrics, end", rows: &[] },
    Section {
        id: "A.6",
        title: "The environment",
        rows: &[("every variable: default, form, error", &["every_variable", "every_mistake", "defaults_and_values"])],
    },
    Section { id: "B.1", title: "The destination controller's process", rows: &[] },
    Section {
        id: "B.2",
        title: "Get",
        rows: &[
            (
                "which names are destinations, and which errors others get",
                &["services_instances", "does_not_exist", "anything_else"],
            ),
            ("a port that the Service does not declare", &["undeclared", "does_not_declare"]),
            (
                "hostname, local, zone and family filter the endpoints",
                &["headless", "local_service", "zone_hints", "ipv6_is_preferred"],
            ),
            ("a pod's endpoint, field by field", &["a_pod_is_described_in_full"]),
            ("an ExternalWorkload's endpoint, field by field", &["an_external_workload_is_described_in_full"]),
            ("an endpoint without a workload", &["without_workload", "gateway_is_described"]),
            ("identities are those of our own mesh", &["our_own_mesh", "skipped_inbound_port"]),
            ("opaque ports", &["opaque_ports"]),
            ("the proxy's port, by transport mode", &["transport_mode"]),
        ],
    },
    Section {
        id: "B.3",
        title: "Context tokens",
        rows: &[("forms, unknown keys, the older form", &["context_tokens"])],
    },
    Section {
        id: "B.4",
        title: "GetProfile",
        rows: &[(
            "addresses of services, workloads and nobody",
            &["cluster_address", "workloads_address", "unknown_address"],
        )],
    },
    Section { id: "B.5", title: "Back-pressure", rows: &[] },
    Section { id: "B.6", title: "ExternalWorkloads as endpoints", rows: &[] },
    Section { id: "C.1", title: "The inbound index", rows: &[] },
    Section {
        id: "C.2",
        title: "WatchPort's messages",
        rows: &[
            ("each protocol is told", &["c_1_each_protocol_is_told", "grpc_port", "survives_the_wire"]),
            ("an authorization always has networks", &["without_networks"]),
            ("streams end with OK", &["ends_every_stream_with_ok"]),
        ],
    },
    Section {
        id: "C.3",
        title: "OutboundPolicies",
        rows: &[
            (
                "a Service's address has its policy; an undeclared port is forbidden",
                &["is_forbidden", "undeclared_port"],
            ),
            (
                "outside of the cluster: forwarded; within, and nobody's: NotFound",
                &["outside_the_cluster", "no_service"],
            ),
            ("authorities are names of services", &["names_of_services"]),
            ("appProtocol, annotation and routes choose the protocol", &["the_protocol_of"]),
            ("annotations for retries, timeouts and failures", &["retries_of", "timeouts_of", "failure_accrual"]),
        ],
    },
    Section { id: "C.4", title: "Admission", rows: &[] },
];
