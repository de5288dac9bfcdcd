use proptest::prelude::*;

use super::*;

/// The options of Linkerd's chart.
fn chart() -> Options {
    let ports = |text: &str| text.split(',').map(|port| port.parse().unwrap()).collect();
    Options {
        incoming_proxy_port: 4143,
        outgoing_proxy_port: 4140,
        proxy_uid: Some(2102),
        inbound_ports_to_ignore: ports("4190,4191,4567,4568"),
        outbound_ports_to_ignore: ports("4567,4568"),
        ..Options::default()
    }
}

fn text(options: &Options, family: Family) -> String {
    RuleSet::new(options, family).rules.iter().map(|rule| format!("{rule}\n")).collect()
}

#[test]
fn d_1_the_charts_options_make_linkerds_list() {
    insta::assert_snapshot!(text(&chart(), Family::V4), @r#"
    -A PROXY_INIT_REDIRECT -p tcp -m multiport --dports 4190,4191,4567,4568 -m comment --comment "proxy-init/ignore-port-4190,4191,4567,4568" -j RETURN
    -A PROXY_INIT_REDIRECT -p tcp -m comment --comment "proxy-init/redirect-all-incoming-to-proxy-port" -j REDIRECT --to-ports 4143
    -A PROXY_INIT_OUTPUT -m owner --uid-owner 2102 -m comment --comment "proxy-init/ignore-proxy-user-id" -j RETURN
    -A PROXY_INIT_OUTPUT -o lo -m comment --comment "proxy-init/ignore-loopback" -j RETURN
    -A PROXY_INIT_OUTPUT -p tcp -m multiport --dports 4567,4568 -m comment --comment "proxy-init/ignore-port-4567,4568" -j RETURN
    -A PROXY_INIT_OUTPUT -p tcp -m comment --comment "proxy-init/redirect-all-outgoing-to-proxy-port" -j REDIRECT --to-ports 4140
    "#);
    assert_eq!(text(&chart(), Family::V4), text(&chart(), Family::V6));
}

#[test]
fn d_1_every_option_has_its_rules_in_order() {
    let subnets = ["10.1.2.3/8", "192.168.7.7/32", "0.0.0.0/0", "fd00::1/8"].map(|subnet| subnet.parse().unwrap());
    let options = Options {
        proxy_uid: Some(0),
        proxy_gid: Some(2103),
        ports_to_redirect: vec![80, 8080],
        inbound_ports_to_ignore: vec!["9000-9009".parse().unwrap()],
        outbound_ports_to_ignore: vec![],
        subnets_to_ignore: subnets.to_vec(),
        ..chart()
    };
    insta::assert_snapshot!(text(&options, Family::V4), @r#"
    -A PROXY_INIT_REDIRECT -p tcp -m multiport --dports 9000:9009 -m comment --comment "proxy-init/ignore-port-9000:9009" -j RETURN
    -A PROXY_INIT_REDIRECT -s 10.0.0.0/8 -m comment --comment "proxy-init/ignore-subnet-10.1.2.3/8" -j RETURN
    -A PROXY_INIT_REDIRECT -s 192.168.7.7/32 -m comment --comment "proxy-init/ignore-subnet-192.168.7.7/32" -j RETURN
    -A PROXY_INIT_REDIRECT -m comment --comment "proxy-init/ignore-subnet-0.0.0.0/0" -j RETURN
    -A PROXY_INIT_REDIRECT -p tcp -m tcp --dport 80 -m comment --comment "proxy-init/redirect-port-80-to-proxy-port" -j REDIRECT --to-ports 4143
    -A PROXY_INIT_REDIRECT -p tcp -m tcp --dport 8080 -m comment --comment "proxy-init/redirect-port-8080-to-proxy-port" -j REDIRECT --to-ports 4143
    -A PROXY_INIT_OUTPUT -m owner --uid-owner 0 -m comment --comment "proxy-init/ignore-proxy-user-id" -j RETURN
    -A PROXY_INIT_OUTPUT -m owner --gid-owner 2103 -m comment --comment "proxy-init/ignore-proxy-group-id" -j RETURN
    -A PROXY_INIT_OUTPUT -o lo -m comment --comment "proxy-init/ignore-loopback" -j RETURN
    -A PROXY_INIT_OUTPUT -p tcp -m comment --comment "proxy-init/redirect-all-outgoing-to-proxy-port" -j REDIRECT --to-ports 4140
    "#);
    let v6: Vec<_> =
        RuleSet::new(&options, Family::V6).of_chain(REDIRECT).filter(|rule| rule.contains("-s ")).collect();
    assert_eq!(
        v6,
        [r#"-A PROXY_INIT_REDIRECT -s fd00::/8 -m comment --comment "proxy-init/ignore-subnet-fd00::1/8" -j RETURN"#]
    );
}

#[test]
fn d_1_a_multiport_match_takes_fifteen_ports_and_a_range_counts_twice() {
    let ports = |text: &str| text.split(',').map(|port| port.parse().unwrap()).collect::<Vec<PortRange>>();
    let lists = |options: Options| -> Vec<String> {
        let list = |rule: String| rule.split("--dports ").nth(1)?.split(' ').next().map(str::to_owned);
        RuleSet::new(&options, Family::V4).of_chain(OUTPUT).filter_map(list).collect()
    };
    let sixteen = ports("1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16");
    let split = lists(Options { outbound_ports_to_ignore: sixteen, ..chart() });
    assert_eq!(split, ["1,2,3,4,5,6,7,8,9,10,11,12,13,14,15", "16"]);
    let ranges = ports("1-2,3-4,5-6,7-8,9-10,11-12,13-14,15-16,17");
    let split = lists(Options { outbound_ports_to_ignore: ranges, ..chart() });
    assert_eq!(split, ["1:2,3:4,5:6,7:8,9:10,11:12,13:14", "15:16,17"]);
}

proptest! {
    #[test]
    fn ignored_ports_stay_in_order_and_no_match_is_too_long(ends in prop::collection::vec((1..=u16::MAX, 1..=u16::MAX), 0..60)) {
        let range = |(a, b): &(u16, u16)| format!("{}-{}", a.min(b), a.max(b)).parse::<PortRange>().unwrap();
        let ports: Vec<PortRange> = ends.iter().map(range).collect();
        let rules = ignore_ports(OUTPUT, &ports);
        let mut seen = Vec::new();
        for rule in &rules {
            let Match::TcpPorts(group) = &rule.matches else { panic!("{rule}") };
            prop_assert!(group.iter().map(|p| p.places()).sum::<usize>() <= 15);
            seen.extend(group.iter().copied());
        }
        prop_assert_eq!(seen, ports);
    }
}
