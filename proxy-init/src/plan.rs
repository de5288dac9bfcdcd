//! What to tell iptables-restore, given what should be and what is. Pure: text in, text out.

use std::fmt::Write;

use crate::nat_table::{NatTable, chain_of, goes_to, is_plain_jump};
use crate::nft::NftNat;
use crate::rules::{HOOKS, Hook, OUTPUT, REDIRECT, comment};
use crate::{Family, Options, RuleSet};

/// Written into the jump's comment so that uninstalling leaves an empty chain or table that was not ours: the kernel
/// is the one place where the note lives exactly as long as the rules.
const CHAIN_WAS_THERE: &str = " (chain was there)";
const TABLE_WAS_THERE: &str = " (table was there)";

/// The transactions that would be run on an empty table, as text for `iptables-restore --noflush`.
pub fn simulate(options: &Options, ipv6: bool) -> String {
    let families: &[Family] = if ipv6 { &[Family::V4, Family::V6] } else { &[Family::V4] };
    let mut text = String::new();
    for family in families {
        let transaction = install(&RuleSet::new(options, *family), &NatTable::default(), None).unwrap_or_default();
        let _ = write!(text, "# {family}\n{transaction}");
    }
    text
}

/// The one transaction that makes the table hold exactly these rules of ours, or `None` if it does already.
///
/// `nft` is what nftables holds of the table, for its back end.
pub(crate) fn install(rules: &RuleSet, now: &NatTable, nft: Option<&NftNat>) -> Option<String> {
    if differences(rules, now).is_empty() {
        return None;
    }
    let mut text = "*nat\n".to_owned();
    // With --noflush this line makes a chain, or empties the one that is there, inside the transaction.
    for chain in [REDIRECT, OUTPUT] {
        let _ = writeln!(text, ":{chain} - [0:0]");
    }
    for hook in HOOKS {
        for rule in rules.of_chain(hook.to) {
            let _ = writeln!(text, "{rule}");
        }
    }
    for hook in HOOKS {
        let kept = jumps(hook, now).position(|rule| is_plain_jump(rule, hook.from, hook.to));
        let superfluous = jumps(hook, now).enumerate().filter(|(index, _)| Some(*index) != kept);
        superfluous.for_each(|(_, rule)| delete(&mut text, rule));
        if kept.is_none() {
            let _ = writeln!(text, "{}", jump(hook, nft));
        }
    }
    text.push_str("COMMIT\n");
    Some(text)
}

/// Where the table is not what the rules say, in words; empty if it is.
pub(crate) fn differences(rules: &RuleSet, now: &NatTable) -> Vec<String> {
    let mut found = Vec::new();
    for hook in HOOKS {
        if !now.has_chain(hook.to) {
            found.push(format!("the chain {} is missing", hook.to));
        }
        let (wanted, held): (Vec<_>, Vec<_>) = (rules.of_chain(hook.to).collect(), now.of_chain(hook.to).collect());
        if wanted != held {
            let held = held.join("\n  ");
            found.push(format!("{} should hold\n  {}\nbut holds\n  {held}", hook.to, wanted.join("\n  ")));
        }
        let jumps: Vec<_> = jumps(hook, now).collect();
        if jumps.len() != 1 || !is_plain_jump(jumps[0], hook.from, hook.to) {
            found.push(format!("{} should jump to {} once, for every packet: {jumps:?}", hook.from, hook.to));
        }
    }
    found
}

/// How to take out what is ours.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Removal {
    pub(crate) transaction: String,
    /// The table was made by us and nothing of another's is in it.
    pub(crate) table_goes: bool,
}

/// The one transaction that removes our jumps and chains, or `None` if there are none.
///
/// With `nft` it also deletes the kernel's chains that came with our jumps and are empty without them.
pub(crate) fn uninstall(now: &NatTable, nft: bool) -> Option<Removal> {
    let chains: Vec<&str> = now.user_chains().filter(|chain| is_ours(chain)).collect();
    if chains.is_empty() {
        return None;
    }
    let to_us: Vec<&str> = HOOKS.iter().flat_map(|hook| now.jumps_to(hook.to)).collect();
    let foreign: Vec<&str> = now.rules().filter(|rule| !to_us.contains(rule) && !is_ours(chain_of(rule))).collect();
    let mut transaction = "*nat\n".to_owned();
    to_us.iter().for_each(|rule| delete(&mut transaction, rule));
    for (flag, chain) in ["-F", "-X"].iter().flat_map(|flag| chains.iter().map(move |chain| (flag, chain))) {
        let _ = writeln!(transaction, "{flag} {chain}");
    }
    for hook in HOOKS.iter().filter(|hook| nft && came_with_us(**hook, now)) {
        if now.policy(hook.from) == Some("ACCEPT") && !foreign.iter().any(|rule| chain_of(rule) == hook.from) {
            let _ = writeln!(transaction, "-X {}", hook.from);
        }
    }
    transaction.push_str("COMMIT\n");
    let alone = foreign.is_empty() && now.user_chains().all(is_ours);
    let was_there = to_us.iter().any(|rule| rule.contains(CHAIN_WAS_THERE) || rule.contains(TABLE_WAS_THERE));
    Some(Removal { transaction, table_goes: nft && alone && !was_there && !to_us.is_empty() })
}

fn is_ours(chain: &str) -> bool {
    chain == REDIRECT || chain == OUTPUT
}

fn came_with_us(hook: Hook, now: &NatTable) -> bool {
    let mut own = jumps(hook, now).peekable();
    own.peek().is_some() && own.all(|rule| !rule.contains(CHAIN_WAS_THERE))
}

/// The hook's own jumps to our chain.
fn jumps(hook: Hook, now: &NatTable) -> impl Iterator<Item = &str> {
    now.of_chain(hook.from).filter(move |rule| goes_to(rule, hook.to))
}

fn jump(hook: Hook, nft: Option<&NftNat>) -> String {
    let note = match nft {
        Some(NftNat::Table(chains)) if chains.iter().any(|chain| chain == hook.from) => CHAIN_WAS_THERE,
        Some(NftNat::Table(_)) => TABLE_WAS_THERE,
        Some(NftNat::Unknown) => CHAIN_WAS_THERE,
        Some(NftNat::Absent) | None => "",
    };
    format!("-A {} {} -j {}", hook.from, comment(&format!("{}{note}", hook.name)), hook.to)
}

fn delete(text: &mut String, rule: &str) {
    let _ = writeln!(text, "{}", rule.replacen("-A ", "-D ", 1));
}

#[cfg(test)]
mod tests;
