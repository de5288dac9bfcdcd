use super::*;

fn rules() -> RuleSet {
    let options =
        Options { incoming_proxy_port: 4143, outgoing_proxy_port: 4140, proxy_uid: Some(2102), ..Options::default() };
    RuleSet::new(&options, Family::V4)
}

/// The table of iptables-save with these user chains and rules.
fn table(chains: &[&str], rules: &[&str]) -> NatTable {
    let kernel =
        ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"].map(|chain| format!(":{chain} ACCEPT [0:0]\n")).concat();
    let chains: String = chains.iter().map(|chain| format!(":{chain} - [0:0]\n")).collect();
    NatTable::parse(&format!("# Generated\n*nat\n{kernel}{chains}{}\nCOMMIT\n", rules.join("\n")))
}

/// The table as it is after a transaction of `install` on an empty one.
fn installed(transaction: &str) -> NatTable {
    let rules: Vec<&str> = transaction.lines().filter(|line| line.starts_with("-A ")).collect();
    table(&[REDIRECT, OUTPUT], &rules)
}

#[test]
fn an_empty_table_gets_the_chains_the_rules_and_the_jumps_in_one_transaction() {
    insta::assert_snapshot!(install(&rules(), &table(&[], &[]), None).unwrap(), @r#"
    *nat
    :PROXY_INIT_REDIRECT - [0:0]
    :PROXY_INIT_OUTPUT - [0:0]
    -A PROXY_INIT_REDIRECT -p tcp -m comment --comment "proxy-init/redirect-all-incoming-to-proxy-port" -j REDIRECT --to-ports 4143
    -A PROXY_INIT_OUTPUT -m owner --uid-owner 2102 -m comment --comment "proxy-init/ignore-proxy-user-id" -j RETURN
    -A PROXY_INIT_OUTPUT -o lo -m comment --comment "proxy-init/ignore-loopback" -j RETURN
    -A PROXY_INIT_OUTPUT -p tcp -m comment --comment "proxy-init/redirect-all-outgoing-to-proxy-port" -j REDIRECT --to-ports 4140
    -A PREROUTING -m comment --comment "proxy-init/install-proxy-init-prerouting" -j PROXY_INIT_REDIRECT
    -A OUTPUT -m comment --comment "proxy-init/install-proxy-init-output" -j PROXY_INIT_OUTPUT
    COMMIT
    "#);
}

#[test]
fn a_table_that_is_right_is_left_alone() {
    let first = install(&rules(), &table(&[], &[]), Some(&NftNat::Absent)).unwrap();
    assert_eq!(install(&rules(), &installed(&first), Some(&NftNat::Table(vec![]))), None);
}

#[test]
fn the_guides_own_rules_are_taken_over_with_their_jumps() {
    let guide = table(
        &[REDIRECT, OUTPUT],
        &[
            "-A PREROUTING -j PROXY_INIT_REDIRECT",
            "-A OUTPUT -j PROXY_INIT_OUTPUT",
            "-A PROXY_INIT_OUTPUT -m owner --uid-owner 0 -j RETURN",
            "-A PROXY_INIT_OUTPUT -p tcp -j REDIRECT --to-ports 4140",
            "-A PROXY_INIT_REDIRECT -p tcp -j REDIRECT --to-ports 4143",
        ],
    );
    let text = install(&rules(), &guide, Some(&NftNat::Table(vec![]))).unwrap();
    assert!(!text.contains("-j PROXY_INIT") && !text.contains("-D "), "{text}");
    assert!(text.contains(":PROXY_INIT_OUTPUT - [0:0]"), "{text}");
}

#[test]
fn only_one_jump_for_every_packet_stays() {
    let crooked = table(
        &[REDIRECT, OUTPUT],
        &[
            "-A PREROUTING -i eth1 -j PROXY_INIT_REDIRECT",
            "-A PREROUTING -m comment --comment \"-i eth1 all of it\" -j PROXY_INIT_REDIRECT",
            "-A PREROUTING -j PROXY_INIT_REDIRECT",
            "-A DOCKER -g PROXY_INIT_OUTPUT",
        ],
    );
    let text = install(&rules(), &crooked, None).unwrap();
    let moved: Vec<_> = text.lines().filter(|line| line.starts_with("-D") || line.contains("-j PROXY_INIT")).collect();
    insta::assert_snapshot!(moved.join("\n"), @r#"
    -D PREROUTING -i eth1 -j PROXY_INIT_REDIRECT
    -D PREROUTING -j PROXY_INIT_REDIRECT
    -A OUTPUT -m comment --comment "proxy-init/install-proxy-init-output" -j PROXY_INIT_OUTPUT
    "#);
}

#[test]
fn a_chain_or_table_that_was_there_is_noted_in_the_jump_and_outlives_the_uninstall() {
    let note = |nft| {
        let text = install(&rules(), &table(&[], &[]), Some(&nft)).unwrap();
        uninstall(&installed(&text), true).unwrap()
    };
    let ours = note(NftNat::Absent);
    assert!(ours.table_goes && ours.transaction.contains("-X PREROUTING\n-X OUTPUT\n"), "{ours:?}");
    let table = note(NftNat::Table(vec![]));
    assert!(!table.table_goes && table.transaction.contains("-X PREROUTING\n-X OUTPUT\n"), "{table:?}");
    let chain = note(NftNat::Table(vec!["PREROUTING".to_owned()]));
    assert!(
        !chain.table_goes && !chain.transaction.contains("-X PREROUTING") && chain.transaction.contains("-X OUTPUT")
    );
    let unknown = note(NftNat::Unknown);
    assert!(
        !unknown.table_goes
            && !unknown.transaction.contains("-X PREROUTING")
            && !unknown.transaction.contains("-X OUTPUT")
    );
}

#[test]
fn uninstalling_touches_nothing_of_others() {
    let text = install(&rules(), &table(&[], &[]), None).unwrap();
    let mut lines: Vec<&str> = text.lines().filter(|line| line.starts_with("-A ")).collect();
    lines.insert(0, "-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER");
    let mixed = table(&["DOCKER", REDIRECT, OUTPUT], &lines);
    let removal = uninstall(&mixed, true).unwrap();
    insta::assert_snapshot!(removal.transaction, @r#"
    *nat
    -D PREROUTING -m comment --comment "proxy-init/install-proxy-init-prerouting" -j PROXY_INIT_REDIRECT
    -D OUTPUT -m comment --comment "proxy-init/install-proxy-init-output" -j PROXY_INIT_OUTPUT
    -F PROXY_INIT_REDIRECT
    -F PROXY_INIT_OUTPUT
    -X PROXY_INIT_REDIRECT
    -X PROXY_INIT_OUTPUT
    -X OUTPUT
    COMMIT
    "#);
    assert!(!removal.table_goes);
}

#[test]
fn there_is_nothing_to_uninstall_where_none_of_our_chains_is() {
    assert_eq!(uninstall(&table(&["DOCKER"], &["-A PREROUTING -j DOCKER"]), true), None);
    assert_eq!(uninstall(&NatTable::parse(""), true), None);
}

#[test]
fn both_ways_of_reading_give_the_same_table() {
    let saved = "*filter\n:INPUT DROP [0:0]\n-A INPUT -j ACCEPT\nCOMMIT\n*nat\n:OUTPUT ACCEPT [1:2]\n:MINE - [0:0]\n-A OUTPUT -j MINE\nCOMMIT\n";
    assert_eq!(NatTable::parse(saved), NatTable::from_listing("-P OUTPUT ACCEPT\n-N MINE\n-A OUTPUT -j MINE\n"));
    assert_eq!(NatTable::parse(saved).policy("INPUT"), None);
}
