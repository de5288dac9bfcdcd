use crate::backend::{Backend, Kind, Programs};
use crate::namespace::has_ipv6;
use crate::rules::{OUTPUT, REDIRECT};
use crate::{Error, Family, Options, RuleSet, nft, plan};

/// How often we plan anew when another program changes the table between our reading and our writing.
const ATTEMPTS: usize = 3;

/// The kernel's packet filter in this network namespace, as iptables reaches it.
#[derive(Clone, Debug, Default)]
pub struct Firewall {
    pub programs: Programs,
    /// Whether IPv6 is redirected too; unsaid, it is, and may fail only where the namespace has no IPv6.
    pub ipv6: Option<bool>,
    /// Waits for the lock of iptables-legacy for ever, instead of for five seconds.
    pub waits_for_ever: bool,
}

impl Firewall {
    /// Makes the kernel redirect as the options say, whatever our chains held before; verifies it by reading back.
    pub fn install(&self, options: &Options) -> Result<(), Error> {
        self.install_family(options, Family::V4)?;
        if self.ipv6 == Some(false) {
            // What an earlier run wrote goes; without programs for IPv6 nothing can have been written.
            let removed = self.uninstall_family(Family::V6);
            return if matches!(removed, Err(Error::NoBackend { .. })) { Ok(()) } else { removed.map(drop) };
        }
        match self.install_family(options, Family::V6) {
            Err(error) if self.ipv6.is_none() && !has_ipv6() => {
                tracing::warn!(event = "proxy_init.no_ipv6", %error, "IPv6 is not redirected; no interface has an IPv6 address");
                Ok(())
            }
            result => result.map_err(|error| Error::Ipv6Bypass(Box::new(error))),
        }
    }

    /// Removes our chains and the jumps to them from every back end; what others put there stays.
    ///
    /// The legacy back end's `nat` table stays too, empty: the kernel has it until the namespace ends.
    pub fn uninstall(&self) -> Result<(), Error> {
        let [v4, v6] = [Family::V4, Family::V6].map(|family| self.uninstall_family(family));
        if !(v4? | v6?) {
            tracing::info!(event = "proxy_init.nothing_to_remove", "there are no rules of ours");
        }
        Ok(())
    }

    fn install_family(&self, options: &Options, family: Family) -> Result<(), Error> {
        let backend = Backend::choose(&self.programs, family, self.waits_for_ever)?;
        write(&backend, &RuleSet::new(options, family))?;
        // Rules in the other back end too would redirect twice. The new ones are up already: nothing passes meanwhile.
        let others = Backend::with_our_chains(&self.programs, family, self.waits_for_ever)?;
        others.iter().filter(|other| other.kind != backend.kind).try_for_each(remove)
    }

    fn uninstall_family(&self, family: Family) -> Result<bool, Error> {
        let backends = Backend::with_our_chains(&self.programs, family, self.waits_for_ever)?;
        backends.iter().try_for_each(remove)?;
        Ok(!backends.is_empty())
    }
}

fn write(backend: &Backend, rules: &RuleSet) -> Result<(), Error> {
    let (family, program) = (backend.family, backend.program.as_str());
    for attempt in 1..=ATTEMPTS {
        let Some(transaction) = plan::install(rules, &backend.read()?, backend.nft()?.as_ref()) else {
            tracing::info!(event = "proxy_init.unchanged", %family, program, "the rules are in place");
            return Ok(());
        };
        tracing::debug!(event = "proxy_init.transaction", %family, program, transaction);
        match backend.restore(&transaction) {
            Ok(()) => break,
            Err(Error::Failed { .. }) if attempt < ATTEMPTS => {}
            Err(error) => return Err(error),
        }
    }
    let differences = plan::differences(rules, &backend.read_back()?);
    if !differences.is_empty() {
        return Err(Error::Drift { family, program: program.to_owned(), differences });
    }
    tracing::info!(event = "proxy_init.installed", %family, program, "traffic is redirected to the proxy");
    Ok(())
}

fn remove(backend: &Backend) -> Result<(), Error> {
    let (family, program) = (backend.family, backend.program.as_str());
    for attempt in 1..=ATTEMPTS {
        // Before 1.8.8 iptables-nft cannot delete the kernel's chains: the last attempt leaves them, empty.
        let with_chains = backend.kind == Kind::Nft && attempt < ATTEMPTS;
        let Some(removal) = plan::uninstall(&backend.read()?, with_chains) else { break };
        tracing::debug!(event = "proxy_init.transaction", %family, program, transaction = removal.transaction);
        match backend.restore(&removal.transaction) {
            Ok(()) if removal.table_goes && !nft::delete_empty_nat(family)? => {
                tracing::warn!(event = "proxy_init.table_left", %family, "the table nat stays, empty: nft is not installed or refused");
            }
            Ok(()) => {}
            Err(Error::Failed { .. }) if attempt < ATTEMPTS => continue,
            Err(error) => return Err(error),
        }
        break;
    }
    let left = backend.read()?;
    if left.has_chain(REDIRECT) || left.has_chain(OUTPUT) {
        let differences = vec!["our chains are still there".to_owned()];
        return Err(Error::Drift { family, program: program.to_owned(), differences });
    }
    tracing::info!(event = "proxy_init.removed", %family, program, "our rules are gone");
    Ok(())
}
