//! nftables' own sight of the table that iptables-nft keeps its rules in: iptables-save shows chains that are not there.

use std::io;
use std::process::Command;

use crate::{Error, Family};

/// What nftables holds of the `nat` table of a family.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NftNat {
    Absent,
    /// The names of its chains.
    Table(Vec<String>),
    /// The program `nft` is not here to tell.
    Unknown,
}

/// Asks `nft list table`.
pub(crate) fn nat(family: Family) -> Result<NftNat, Error> {
    let Some(listing) = list(family)? else { return Ok(NftNat::Unknown) };
    let chain = |line: &str| line.trim().strip_prefix("chain ")?.strip_suffix(" {").map(str::to_owned);
    Ok(match listing {
        Some(text) => NftNat::Table(text.lines().filter_map(chain).collect()),
        None => NftNat::Absent,
    })
}

/// Deletes the table if nothing is in it any more, and says whether it is gone.
///
/// nftables deletes full tables too, so we look right before; what appears between the two would be lost.
pub(crate) fn delete_empty_nat(family: Family) -> Result<bool, Error> {
    let Some(Some(text)) = list(family)? else { return Ok(false) };
    let empty = text.lines().all(|line| matches!(line.trim(), "" | "}") || line.starts_with("table "));
    if !empty {
        return Ok(false);
    }
    let output = nft(&["delete", "table", name(family), "nat"]).map_err(|e| Error::start("nft", e))?;
    Ok(output.status.success())
}

fn name(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// The table's text, `Some(None)` if there is no such table, `None` without the program.
fn list(family: Family) -> Result<Option<Option<String>>, Error> {
    match nft(&["list", "table", name(family), "nat"]) {
        Ok(output) if output.status.success() => Ok(Some(Some(String::from_utf8_lossy(&output.stdout).into_owned()))),
        Ok(output) => match String::from_utf8_lossy(&output.stderr) {
            text if text.contains("No such file or directory") => Ok(Some(None)),
            text => Err(Error::failed("nft list table", &text)),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::start("nft", e)),
    }
}

fn nft(args: &[&str]) -> io::Result<std::process::Output> {
    // Its words for "no such table" must not depend on the user's language.
    Command::new("nft").args(args).env("LC_ALL", "C").output()
}
