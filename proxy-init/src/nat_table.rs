/// The `nat` table as iptables-save prints it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NatTable {
    /// Each chain with its policy, `-` for those that are not the kernel's.
    chains: Vec<(String, String)>,
    rules: Vec<String>,
}

impl NatTable {
    /// Reads the output of `iptables-save -t nat`; a table that is not there is an empty one.
    pub(crate) fn parse(text: &str) -> Self {
        let mut table = Self::default();
        let lines = text.lines().map(str::trim).skip_while(|line| *line != "*nat").take_while(|line| *line != "COMMIT");
        for line in lines {
            if let Some((name, rest)) = line.strip_prefix(':').and_then(|chain| chain.split_once(' ')) {
                let policy = rest.split(' ').next().unwrap_or_default();
                table.chains.push((name.to_owned(), policy.to_owned()));
            } else if line.starts_with("-A ") {
                table.rules.push(line.to_owned());
            }
        }
        table
    }

    /// Reads the output of `iptables -t nat -S`.
    pub(crate) fn from_listing(text: &str) -> Self {
        let mut table = Self::default();
        for line in text.lines().map(str::trim) {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["-P", chain, policy] => table.chains.push((chain.to_owned(), policy.to_owned())),
                ["-N", chain] => table.chains.push((chain.to_owned(), "-".to_owned())),
                ["-A", ..] => table.rules.push(line.to_owned()),
                _ => {}
            }
        }
        table
    }

    pub(crate) fn has_chain(&self, chain: &str) -> bool {
        self.chains.iter().any(|(name, _)| name == chain)
    }

    pub(crate) fn policy(&self, chain: &str) -> Option<&str> {
        self.chains.iter().find(|(name, _)| name == chain).map(|(_, policy)| policy.as_str())
    }

    /// The rules of one chain, in order.
    pub(crate) fn of_chain<'a>(&'a self, chain: &'a str) -> impl Iterator<Item = &'a str> {
        self.rules().filter(move |rule| chain_of(rule) == chain)
    }

    /// The rules, of whatever chain, that go to `chain`.
    pub(crate) fn jumps_to<'a>(&'a self, chain: &'a str) -> impl Iterator<Item = &'a str> {
        self.rules().filter(move |rule| goes_to(rule, chain))
    }

    pub(crate) fn rules(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(String::as_str)
    }

    /// The chains that are not the kernel's.
    pub(crate) fn user_chains(&self) -> impl Iterator<Item = &str> {
        self.chains.iter().filter(|(_, policy)| policy == "-").map(|(name, _)| name.as_str())
    }
}

/// The chain that a rule of the form `-A CHAIN …` belongs to.
pub(crate) fn chain_of(rule: &str) -> &str {
    rule.split(' ').nth(1).unwrap_or_default()
}

/// Whether a rule jumps or goes to `chain`; iptables-save prints that last.
pub(crate) fn goes_to(rule: &str, chain: &str) -> bool {
    rule.strip_suffix(chain).is_some_and(|rest| rest.ends_with(" -j ") || rest.ends_with(" -g "))
}

/// Whether the rule is `-A <from> -j <to>` for every packet, with or without a comment.
pub(crate) fn is_plain_jump(rule: &str, from: &str, to: &str) -> bool {
    let matches = rule.strip_prefix(&format!("-A {from} ")).and_then(|rest| rest.strip_suffix(&format!("-j {to}")));
    let Some(matches) = matches.map(str::trim) else { return false };
    let Some(comment) = matches.strip_prefix("-m comment --comment ") else { return matches.is_empty() };
    let quoted = comment.strip_prefix('"').and_then(|inner| inner.strip_suffix('"'));
    quoted.map_or_else(|| !comment.contains(' '), |inner| !inner.contains('"'))
}
