use outrigger_testkit::Host;

use crate::machine::{MODES, PORTS, machines, nft_ruleset, saved, sh, succeed};

/// What Docker and a careful administrator leave in a machine, in every table.
fn write_foreign_rules(host: &Host, mode: &str) {
    for (ip, subnet, container) in
        [("iptables", "172.17.0.0/16", "172.17.0.2:80"), ("ip6tables", "fd17::/64", "[fd17::2]:80")]
    {
        let loopback = if ip == "iptables" { "127.0.0.0/8" } else { "::1/128" };
        sh(
            host,
            &format!(
                "i={ip}-{mode}
                $i -t nat -N DOCKER
                $i -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
                $i -t nat -A OUTPUT ! -d {loopback} -m addrtype --dst-type LOCAL -j DOCKER
                $i -t nat -A POSTROUTING -s {subnet} ! -o docker0 -j MASQUERADE
                $i -t nat -A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination {container}
                $i -t filter -P FORWARD DROP
                $i -t filter -N DOCKER-USER
                $i -t filter -A FORWARD -j DOCKER-USER
                $i -t filter -A INPUT -p tcp --dport 22 -m comment --comment 'the -j PROXY_INIT_REDIRECT of words' -j ACCEPT
                $i -t mangle -A PREROUTING -p tcp -j MARK --set-mark 0x1
                $i -t raw -A PREROUTING -p udp --dport 53 -j NOTRACK"
            ),
        );
    }
}

#[test]
fn t_14_uninstall_leaves_byte_for_byte_what_was_there_with_foreign_rules_in_every_table() {
    for mode in MODES {
        let m = machines();
        write_foreign_rules(&m.vm, mode);
        let before = (saved(&m.vm, mode), nft_ruleset(&m.vm));
        succeed(&m.vm, &format!("{PORTS} -u 2102 --subnets-to-ignore 10.0.0.0/8,fd00::/8 --iptables-mode {mode}"));
        assert!(saved(&m.vm, mode).contains("PROXY_INIT_OUTPUT"), "{mode}");
        succeed(&m.vm, "--uninstall");
        assert_eq!((saved(&m.vm, mode), nft_ruleset(&m.vm)), before, "{mode}");
        let log = succeed(&m.vm, "--uninstall");
        assert!(log.contains("proxy_init.nothing_to_remove"), "{log}");
        assert_eq!((saved(&m.vm, mode), nft_ruleset(&m.vm)), before, "{mode}");
    }
}

#[test]
fn t_14_tables_and_chains_that_came_with_us_go_with_us() {
    let m = machines();
    assert_eq!(nft_ruleset(&m.vm), "");
    succeed(&m.vm, &format!("{PORTS} -u 2102 --iptables-mode nft"));
    succeed(&m.vm, "--uninstall");
    assert_eq!(nft_ruleset(&m.vm), "");
}

#[test]
fn t_14_an_empty_table_and_empty_chains_that_were_there_stay() {
    let before = [
        "nft add table ip nat; nft add table ip6 nat",
        "iptables-nft -t nat -A PREROUTING -p udp -j ACCEPT; iptables-nft -t nat -F",
        "iptables-nft -t nat -A OUTPUT -p udp -j ACCEPT; iptables-nft -t nat -F",
        "iptables-nft -t nat -A POSTROUTING -j MASQUERADE",
        "iptables-nft -t filter -P INPUT DROP",
    ];
    for line in before {
        let m = machines();
        sh(&m.vm, line);
        let before = nft_ruleset(&m.vm);
        succeed(&m.vm, &format!("{PORTS} -u 2102 --iptables-mode nft"));
        // A second run with other options must not forget what the first one found.
        succeed(&m.vm, &format!("{PORTS} -u 0 --iptables-mode nft"));
        succeed(&m.vm, "--uninstall");
        assert_eq!(nft_ruleset(&m.vm), before, "{line}");
    }
}

#[test]
fn t_14_rules_that_others_added_after_us_stay() {
    let m = machines();
    succeed(&m.vm, &format!("{PORTS} -u 2102 --iptables-mode nft"));
    write_foreign_rules(&m.vm, "nft");
    sh(&m.vm, "iptables-nft -t nat -A DOCKER -j PROXY_INIT_REDIRECT");
    succeed(&m.vm, "--uninstall");
    let other = machines();
    write_foreign_rules(&other.vm, "nft");
    assert_eq!(saved(&m.vm, "nft"), saved(&other.vm, "nft"));
}

#[test]
fn uninstall_finds_the_rules_in_whichever_back_end_they_are() {
    let m = machines();
    for mode in MODES {
        succeed(&m.vm, &format!("{PORTS} -u 2102 --iptables-mode {mode}"));
        let (there, named) = if mode == "nft" { ("nft", "legacy") } else { ("legacy", "nft") };
        succeed(&m.vm, &format!("--uninstall --iptables-mode {named}"));
        assert!(!saved(&m.vm, there).contains("PROXY_INIT"), "{mode}");
    }
}
