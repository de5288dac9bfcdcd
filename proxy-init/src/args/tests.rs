use super::*;

fn parse(args: &[&str]) -> Result<Args, clap::Error> {
    Args::try_parse_from(["outrigger-proxy-init"].iter().chain(args))
}

const PORTS: [&str; 4] = ["-p", "4143", "-o", "4140"];

#[test]
fn d_1_every_flag_parses_in_its_long_and_short_form() {
    let long = "--incoming-proxy-port 4143 --outgoing-proxy-port 4140 --proxy-uid 2102 --proxy-gid 2103 \
        --ports-to-redirect 80,8080 --inbound-ports-to-ignore 4190,4191,4567-4568 --outbound-ports-to-ignore 4567-4568 \
        --subnets-to-ignore 10.0.0.0/8,fd00::/8 --simulate --netns vm --use-wait-flag --timeout-close-wait-secs 3600 \
        --log-format json --log-level debug --iptables-mode nft --ipv6=false --firewall-bin-path /sbin/iptables-nft \
        --firewall-save-bin-path /sbin/iptables-nft-save";
    let args = parse(&long.split_whitespace().collect::<Vec<_>>()).unwrap();
    let options = args.options();
    assert_eq!((options.incoming_proxy_port, options.outgoing_proxy_port), (4143, 4140));
    assert_eq!((options.proxy_uid, options.proxy_gid), (Some(2102), Some(2103)));
    assert_eq!(options.ports_to_redirect, [80, 8080]);
    assert_eq!(options.inbound_ports_to_ignore.len(), 3);
    assert_eq!(options.outbound_ports_to_ignore, ["4567-4568".parse().unwrap()]);
    assert_eq!(options.subnets_to_ignore.len(), 2);
    assert!(args.simulate && args.firewall().waits_for_ever);
    assert_eq!((args.netns.as_deref(), args.timeout_close_wait_secs), (Some("vm"), 3600));
    assert_eq!((args.ipv6, args.firewall().programs.mode), (Some(false), Some(Mode::Nft)));

    let short =
        parse(&["-p", "4143", "-o", "4140", "-u", "2102", "-g", "2103", "-r", "80", "-r", "8080", "-w"]).unwrap();
    assert_eq!(short.options().ports_to_redirect, [80, 8080]);
    assert!(short.firewall().waits_for_ever);
}

#[test]
fn d_1_what_is_not_said_has_linkerds_default_and_the_ports_are_the_guides() {
    let args = parse(&[]).unwrap();
    let expected = Options { incoming_proxy_port: 4143, outgoing_proxy_port: 4140, ..Options::default() };
    assert_eq!(args.options(), expected);
    assert!(!args.simulate && !args.uninstall && !args.firewall().waits_for_ever);
    assert_eq!((args.ipv6, args.timeout_close_wait_secs, args.log_level), (None, 0, LevelFilter::INFO));
    assert_eq!(args.firewall().programs.mode, None);
}

#[test]
fn user_0_is_a_user_and_minus_one_is_nobody() {
    let uid = |text| parse(&[&PORTS[..], &["-u", text]].concat()).unwrap().options().proxy_uid;
    assert_eq!(uid("0"), Some(0));
    assert_eq!(uid("-1"), None);
    assert_eq!(uid("4294967294"), Some(4_294_967_294));
}

#[test]
fn lists_may_be_empty_spaced_or_repeated_and_switches_take_a_value() {
    let args =
        ["--inbound-ports-to-ignore=", "--outbound-ports-to-ignore", "25, 587", "--outbound-ports-to-ignore=3306"];
    let args = parse(&[&PORTS[..], &args, &["--ipv6=true", "--use-wait-flag=false"]].concat()).unwrap();
    assert!(args.options().inbound_ports_to_ignore.is_empty());
    assert_eq!(args.options().outbound_ports_to_ignore.len(), 3);
    assert_eq!((args.ipv6, args.firewall().waits_for_ever), (Some(true), false));
}

#[test]
fn a_wrong_value_is_refused_with_its_flag_and_the_value() {
    let cases = [
        ("--proxy-uid", "root"),
        ("--proxy-uid", "4294967295"),
        ("--ports-to-redirect", "80-81"),
        ("--inbound-ports-to-ignore", "4190,http"),
        ("--outbound-ports-to-ignore", "70000"),
        ("--subnets-to-ignore", "10.0.0.0/33"),
        ("--iptables-mode", "nftables"),
        ("--log-format", "yaml"),
        ("--log-level", "loud"),
        ("--timeout-close-wait-secs", "-5"),
    ];
    for (flag, value) in cases {
        let flag_and_value = format!("{flag}={value}");
        let error = parse(&[&PORTS[..], &[flag_and_value.as_str()]].concat()).unwrap_err().to_string();
        assert!(error.contains(flag) && error.contains(value.rsplit(',').next().unwrap()), "{error}");
    }
    for wrong in [["-p", "0"], ["-p", "65536"], ["-o", "-1"]] {
        assert!(parse(&wrong).is_err(), "{wrong:?}");
    }
    assert!(parse(&["--uninstall"]).is_ok());
    assert!(parse(&["--uninstall", "--simulate"]).is_err(), "a simulation changes nothing");
}
