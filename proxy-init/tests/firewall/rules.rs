use std::collections::BTreeSet;

use crate::machine::{MODES, PORTS, machines, nft_ruleset, our_rules, saved, sh, succeed};

/// The flags that Linkerd's chart passes.
const CHART: &str =
    "-p 4143 -o 4140 -u 2102 --inbound-ports-to-ignore 4190,4191,4567,4568 --outbound-ports-to-ignore 4567,4568";

#[test]
fn d_1_iptables_save_shows_the_references_list_in_both_families_and_back_ends() {
    for mode in MODES {
        let m = machines();
        succeed(&m.vm, &format!("{CHART} --iptables-mode {mode}"));
        let v4 = our_rules(&m.vm, &format!("iptables-{mode}"));
        insta::allow_duplicates! { insta::assert_snapshot!(v4.join("\n"), @r#"
        -A PREROUTING -m comment --comment "proxy-init/install-proxy-init-prerouting" -j PROXY_INIT_REDIRECT
        -A OUTPUT -m comment --comment "proxy-init/install-proxy-init-output" -j PROXY_INIT_OUTPUT
        -A PROXY_INIT_OUTPUT -m owner --uid-owner 2102 -m comment --comment "proxy-init/ignore-proxy-user-id" -j RETURN
        -A PROXY_INIT_OUTPUT -o lo -m comment --comment "proxy-init/ignore-loopback" -j RETURN
        -A PROXY_INIT_OUTPUT -p tcp -m multiport --dports 4567,4568 -m comment --comment "proxy-init/ignore-port-4567,4568" -j RETURN
        -A PROXY_INIT_OUTPUT -p tcp -m comment --comment "proxy-init/redirect-all-outgoing-to-proxy-port" -j REDIRECT --to-ports 4140
        -A PROXY_INIT_REDIRECT -p tcp -m multiport --dports 4190,4191,4567,4568 -m comment --comment "proxy-init/ignore-port-4190,4191,4567,4568" -j RETURN
        -A PROXY_INIT_REDIRECT -p tcp -m comment --comment "proxy-init/redirect-all-incoming-to-proxy-port" -j REDIRECT --to-ports 4143
        "#); }
        assert_eq!(our_rules(&m.vm, &format!("ip6tables-{mode}")), v4, "{mode}");
    }
}

#[test]
fn d_1_every_option_reads_back_from_the_kernel_as_it_was_written() {
    let flags = "-p 4143 -o 4140 -u 0 -g 2103 -r 80,8080 --inbound-ports-to-ignore 4190,9000-9009 \
        --outbound-ports-to-ignore 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15-16,17 \
        --subnets-to-ignore 10.1.2.3/8,192.168.7.7/32,0.0.0.0/0,fd00::1/8,::/0,2001:db8:0:0:1::/128";
    for mode in MODES {
        let m = machines();
        let log = succeed(&m.vm, &format!("{flags} --iptables-mode {mode}"));
        assert_eq!(log.matches("proxy_init.installed").count(), 2, "{log}");
        let again = succeed(&m.vm, &format!("{flags} --iptables-mode {mode}"));
        assert_eq!(again.matches("proxy_init.unchanged").count(), 2, "{again}");
    }
}

#[test]
fn running_twice_changes_nothing_and_other_options_replace_the_rules() {
    for mode in MODES {
        let m = machines();
        succeed(&m.vm, &format!("{CHART} --iptables-mode {mode}"));
        let first = (saved(&m.vm, mode), nft_ruleset(&m.vm));
        succeed(&m.vm, &format!("{CHART} --iptables-mode {mode}"));
        assert_eq!((saved(&m.vm, mode), nft_ruleset(&m.vm)), first);

        succeed(&m.vm, &format!("-p 5143 -o 5140 -u 0 --iptables-mode {mode}"));
        let rules = our_rules(&m.vm, &format!("iptables-{mode}"));
        assert_eq!(rules.iter().filter(|rule| rule.contains("-j PROXY_INIT")).count(), 2, "{rules:?}");
        assert!(rules.iter().all(|rule| !rule.contains("414")), "{rules:?}");
        assert!(rules.iter().any(|rule| rule.contains("--uid-owner 0 ")), "{rules:?}");
    }
}

#[test]
fn the_guides_own_rules_are_taken_over_in_the_back_end_where_they_are() {
    let m = machines();
    sh(
        &m.vm,
        "
        iptables-nft -t nat -N PROXY_INIT_REDIRECT
        iptables-nft -t nat -A PROXY_INIT_REDIRECT -p tcp --match multiport --dports 4190,4191,4567,4568 -j RETURN
        iptables-nft -t nat -A PROXY_INIT_REDIRECT -p tcp -j REDIRECT --to-port 4143
        iptables-nft -t nat -A PREROUTING -j PROXY_INIT_REDIRECT
        iptables-nft -t nat -N PROXY_INIT_OUTPUT
        iptables-nft -t nat -A PROXY_INIT_OUTPUT -m owner --uid-owner 0 -j RETURN
        iptables-nft -t nat -A PROXY_INIT_OUTPUT -o lo -j RETURN
        iptables-nft -t nat -A PROXY_INIT_OUTPUT -p tcp --match multiport --dports 4567,4568 -j RETURN
        iptables-nft -t nat -A PROXY_INIT_OUTPUT -p tcp -j REDIRECT --to-port 4140
        iptables-nft -t nat -A OUTPUT -j PROXY_INIT_OUTPUT",
    );
    succeed(&m.vm, CHART);
    let rules = our_rules(&m.vm, "iptables-nft");
    assert_eq!(rules.iter().filter(|rule| rule.contains("-j PROXY_INIT")).count(), 2, "{rules:?}");
    assert!(rules.iter().any(|rule| rule.contains("--uid-owner 2102")), "{rules:?}");
    assert!(!rules.iter().any(|rule| rule.contains("--uid-owner 0")), "{rules:?}");
    assert!(!sh(&m.vm, "cat /proc/net/ip_tables_names").contains("nat"), "legacy was not asked for and is not touched");
    succeed(&m.vm, "--uninstall");
    assert_eq!(nft_ruleset(&m.vm), "");
}

#[test]
fn naming_another_back_end_moves_the_rules_there() {
    let m = machines();
    for (from, to) in [("nft", "legacy"), ("legacy", "nft")] {
        succeed(&m.vm, &format!("{CHART} --iptables-mode {from}"));
        let expected: BTreeSet<String> = our_rules(&m.vm, &format!("iptables-{from}")).into_iter().collect();
        succeed(&m.vm, &format!("{CHART} --iptables-mode {to}"));
        for ip in ["iptables", "ip6tables"] {
            assert_eq!(our_rules(&m.vm, &format!("{ip}-{from}")), [""; 0]);
            assert_eq!(our_rules(&m.vm, &format!("{ip}-{to}")).into_iter().collect::<BTreeSet<_>>(), expected);
        }
    }
}

#[test]
fn d_1_ipv6_false_leaves_ipv6_alone_and_removes_what_an_earlier_run_wrote() {
    let m = machines();
    succeed(&m.vm, &format!("{PORTS} -u 2102 --iptables-mode nft"));
    succeed(&m.vm, &format!("{PORTS} -u 2102 --iptables-mode nft --ipv6=false"));
    assert_eq!(our_rules(&m.vm, "iptables-nft").len(), 6);
    assert_eq!(our_rules(&m.vm, "ip6tables-nft"), [""; 0]);
}

#[test]
fn d_1_simulate_prints_a_transaction_that_iptables_restore_takes_and_changes_nothing() {
    let m = machines();
    let output = crate::machine::proxy_init(&m.vm, &format!("{CHART} --simulate"));
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let (v4, v6) = text.strip_prefix("# IPv4\n").unwrap().split_once("# IPv6\n").unwrap();
    assert_eq!(v4, v6);
    assert_eq!(nft_ruleset(&m.vm), "");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules");
    std::fs::write(&path, v4).unwrap();
    sh(&m.vm, &format!("iptables-nft-restore --noflush < {}", path.display()));
    let log = succeed(&m.vm, &format!("{CHART} --iptables-mode nft"));
    assert!(log.contains("proxy_init.unchanged") && log.contains("proxy_init.installed"), "{log}");
}

#[test]
fn d_1_the_close_wait_timeout_is_set_in_the_namespace_alone() {
    let m = machines();
    let file = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close_wait";
    let before = sh(&m.peer, &format!("cat {file}"));
    succeed(&m.vm, &format!("{PORTS} -u 2102 --timeout-close-wait-secs 3600"));
    assert_eq!(sh(&m.vm, &format!("cat {file}")), "3600\n");
    assert_eq!(sh(&m.peer, &format!("cat {file}")), before);
}
