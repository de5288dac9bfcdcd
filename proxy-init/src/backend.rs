//! The iptables programs: which of them work here, and what they read and write.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::str::FromStr;

use iptables::IPTables;

use crate::lock::{PATIENCE, await_xtables_lock};
use crate::namespace::has_legacy_nat;
use crate::nat_table::NatTable;
use crate::nft::{self, NftNat};
use crate::rules::{OUTPUT, REDIRECT};
use crate::{Error, Family};

/// The variant of the iptables programs to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Legacy,
    Nft,
    /// `iptables` without a suffix, whichever variant it is on this machine.
    Plain,
}

impl Mode {
    fn suffix(self) -> &'static str {
        match self {
            Self::Legacy => "-legacy",
            Self::Nft => "-nft",
            Self::Plain => "",
        }
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "legacy" => Ok(Self::Legacy),
            "nft" => Ok(Self::Nft),
            "plain" => Ok(Self::Plain),
            _ => Err("it is one of legacy, nft and plain".to_owned()),
        }
    }
}

/// Which programs were asked for: a mode wins over paths, and without either it is legacy (linkerd.md D.1).
#[derive(Clone, Debug, Default)]
pub struct Programs {
    pub mode: Option<Mode>,
    /// The path of `iptables` or a variant; its `-restore` is looked for beside it, as are those of `ip6tables`.
    pub iptables: Option<String>,
    pub iptables_save: Option<String>,
}

/// Where a program keeps its rules in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Legacy,
    Nft,
}

/// The programs of one variant for one address family, known to be there.
#[derive(Clone, Debug)]
pub(crate) struct Backend {
    pub(crate) family: Family,
    pub(crate) kind: Kind,
    pub(crate) program: String,
    save: String,
    waits_for_ever: bool,
}

impl Backend {
    /// The first back end that works: where our chains are already unless one was named, then as asked, then any.
    pub(crate) fn choose(programs: &Programs, family: Family, waits_for_ever: bool) -> Result<Self, Error> {
        if programs.mode.is_none() && programs.iptables.is_none() {
            let installed = Self::with_our_chains(programs, family, waits_for_ever).unwrap_or_default();
            if let Some(backend) = installed.into_iter().next() {
                return Ok(backend);
            }
        }
        let mut tried = Vec::new();
        for (program, save) in candidates(programs, family) {
            match Self::find(family, program, save, waits_for_ever)
                .and_then(|backend| backend.probe().map(|()| backend))
            {
                Ok(backend) if tried.is_empty() => return Ok(backend),
                Ok(backend) => {
                    let (program, tried) = (&backend.program, tried.join("; "));
                    tracing::warn!(event = "proxy_init.fell_back", program, tried, "falling back to another iptables");
                    return Ok(backend);
                }
                Err(error @ (Error::Locked { .. } | Error::NotPermitted { .. })) => return Err(error),
                Err(error) => tried.push(error.to_string()),
            }
        }
        Err(Error::NoBackend { family, tried })
    }

    /// Every back end whose `nat` table holds a chain of ours, the named one's included; looking changes nothing.
    pub(crate) fn with_our_chains(
        programs: &Programs,
        family: Family,
        waits_for_ever: bool,
    ) -> Result<Vec<Self>, Error> {
        let named = Programs { mode: None, ..programs.clone() };
        let any = Programs { mode: Some(Mode::Nft), ..Programs::default() };
        let mut found: Vec<Self> = Vec::new();
        let mut tried = Vec::new();
        let mut looked = false;
        for (program, save) in candidates(&any, family).into_iter().chain(candidates(&named, family)) {
            let backend = match Self::find(family, program, save, waits_for_ever) {
                Ok(backend) => backend,
                Err(error) => {
                    tried.push(error.to_string());
                    continue;
                }
            };
            looked = true;
            let known = found.iter().any(|other| other.kind == backend.kind);
            if known || (backend.kind == Kind::Legacy && !has_legacy_nat(family)) {
                continue;
            }
            match backend.read() {
                Ok(table) if table.has_chain(REDIRECT) || table.has_chain(OUTPUT) => found.push(backend),
                // A variant that the kernel does not know holds no rules.
                Ok(_) | Err(Error::Failed { .. } | Error::Missing { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if looked { Ok(found) } else { Err(Error::NoBackend { family, tried }) }
    }

    fn find(family: Family, program: String, save: String, waits_for_ever: bool) -> Result<Self, Error> {
        let output = run(Command::new(&program).arg("--version"), &program)?;
        let nft = String::from_utf8_lossy(&output.stdout).contains("nf_tables");
        let kind = if nft { Kind::Nft } else { Kind::Legacy };
        Ok(Self { family, kind, program, save, waits_for_ever })
    }

    /// Whether the kernel takes part: lists a chain that every `nat` table has.
    fn probe(&self) -> Result<(), Error> {
        self.list("-S PREROUTING").map(drop)
    }

    /// What `<save> -t nat` prints.
    pub(crate) fn read(&self) -> Result<NatTable, Error> {
        self.await_lock()?;
        let output = run(Command::new(&self.save).args(["-t", "nat"]), &self.save)?;
        Ok(NatTable::parse(&String::from_utf8_lossy(&output.stdout)))
    }

    /// What `<program> -t nat -S` prints: another way to the same table, for checking our own work.
    pub(crate) fn read_back(&self) -> Result<NatTable, Error> {
        self.list("-S").map(|text| NatTable::from_listing(&text))
    }

    /// What nftables holds, if this back end keeps its rules there.
    pub(crate) fn nft(&self) -> Result<Option<NftNat>, Error> {
        match self.kind {
            Kind::Nft => nft::nat(self.family).map(Some),
            Kind::Legacy => Ok(None),
        }
    }

    /// Gives one transaction to `<program>-restore --noflush`: all of it takes effect, or nothing.
    pub(crate) fn restore(&self, transaction: &str) -> Result<(), Error> {
        self.await_lock()?;
        let program = format!("{}-restore", self.program);
        let mut command = Command::new(&program);
        command.args(["--noflush", "-w"]);
        if !self.waits_for_ever {
            command.arg(PATIENCE.as_secs().to_string());
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|e| Error::start(&program, e))?;
        // A program that ends early says why on its standard error; a broken pipe says less.
        let _ = child.stdin.take().map(|mut stdin| stdin.write_all(transaction.as_bytes()));
        let output = child.wait_with_output().map_err(|e| Error::start(&program, e))?;
        check(output, &program).map(drop)
    }

    fn list(&self, command: &str) -> Result<String, Error> {
        self.await_lock()?;
        // The crate keeps its program's name for ever, and so do we, who look at a handful in all.
        let cmd: &'static str = Box::leak(self.program.clone().into_boxed_str());
        let tables = IPTables { cmd, has_check: true, has_wait: false, is_numeric: true };
        let output = tables.execute("nat", command).map_err(|e| Error::start(cmd, io::Error::other(e.to_string())))?;
        let output = check(output, &format!("{cmd} -t nat {command}"))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn await_lock(&self) -> Result<(), Error> {
        match self.kind {
            Kind::Legacy => await_xtables_lock(self.waits_for_ever),
            Kind::Nft => Ok(()),
        }
    }
}

/// The programs to try and their `-save`s, in order.
fn candidates(programs: &Programs, family: Family) -> Vec<(String, String)> {
    if let (None, Some(path)) = (programs.mode, &programs.iptables) {
        let save = programs.iptables_save.clone().unwrap_or_else(|| format!("{path}-save"));
        return vec![(twin(path, family), twin(&save, family))];
    }
    let mut modes = vec![programs.mode.unwrap_or(Mode::Legacy), Mode::Nft, Mode::Plain, Mode::Legacy];
    let mut seen = Vec::new();
    modes.retain(|mode| {
        !seen.contains(mode) && {
            seen.push(*mode);
            true
        }
    });
    let name = |mode: &Mode| twin(&format!("iptables{}", mode.suffix()), family);
    modes.iter().map(|mode| (name(mode), format!("{}-save", name(mode)))).collect()
}

/// The same program for the address family: `ip6tables…` beside `iptables…`.
fn twin(path: &str, family: Family) -> String {
    let file = Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(path);
    match family {
        Family::V4 => path.to_owned(),
        Family::V6 => format!("{}{}", &path[..path.len() - file.len()], file.replacen("iptables", "ip6tables", 1)),
    }
}

fn run(command: &mut Command, program: &str) -> Result<Output, Error> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| Error::start(program, e))?;
    check(output, program)
}

fn check(output: Output, command: &str) -> Result<Output, Error> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(output),
        false if stderr.contains("holding the xtables lock") => {
            Err(Error::Locked { path: "/run/xtables.lock".into(), waited: PATIENCE })
        }
        false => Err(Error::failed(command, &stderr)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(programs: &Programs, family: Family) -> Vec<String> {
        candidates(programs, family).into_iter().map(|(program, _)| program).collect()
    }

    #[test]
    fn legacy_is_the_default_and_the_fallback_goes_nft_plain_legacy() {
        let mode = |mode| Programs { mode, ..Programs::default() };
        assert_eq!(names(&mode(None), Family::V4), ["iptables-legacy", "iptables-nft", "iptables"]);
        assert_eq!(names(&mode(Some(Mode::Nft)), Family::V4), ["iptables-nft", "iptables", "iptables-legacy"]);
        assert_eq!(names(&mode(Some(Mode::Plain)), Family::V6), ["ip6tables", "ip6tables-nft", "ip6tables-legacy"]);
    }

    #[test]
    fn a_path_is_used_as_given_and_its_ipv6_twin_is_beside_it_but_a_mode_wins() {
        let mut programs = Programs { iptables: Some("/opt/iptables/iptables-nft".into()), ..Programs::default() };
        let twin = ("/opt/iptables/ip6tables-nft".to_owned(), "/opt/iptables/ip6tables-nft-save".to_owned());
        assert_eq!(candidates(&programs, Family::V6), [twin]);
        programs.iptables_save = Some("/opt/save/iptables-save".into());
        assert_eq!(candidates(&programs, Family::V4)[0].1, "/opt/save/iptables-save");
        programs.mode = Some(Mode::Legacy);
        assert_eq!(names(&programs, Family::V4)[0], "iptables-legacy");
    }
}
