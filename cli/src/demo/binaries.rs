//! The programs of the mesh, found beside our own.

use anyhow::{Context as _, Result, bail};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Where copies go; one folder for each network that needed them.
const COPIES: &str = "/var/lib/outrigger/demo";

/// Where each program is.
pub(crate) struct Binaries {
    pub(crate) outrigger: PathBuf,
    pub(crate) proxy_init: PathBuf,
    pub(crate) proxy: PathBuf,
    pub(crate) destination: PathBuf,
    pub(crate) policy: PathBuf,
}

impl Binaries {
    /// Fails where one is not built.
    pub(crate) fn find() -> Result<Self> {
        let outrigger = std::env::current_exe().context("cannot find our own program")?;
        let beside = |name: &str| {
            let path = outrigger.with_file_name(name);
            if !path.is_file() {
                bail!("{} does not exist: run `make build` first", path.display());
            }
            Ok(path)
        };
        Ok(Self {
            proxy_init: beside("outrigger-proxy-init")?,
            proxy: beside("outrigger-proxy")?,
            destination: beside("outrigger-destination")?,
            policy: beside("outrigger-policy")?,
            outrigger,
        })
    }

    /// Makes sure that every user can run what other users than root run: a checkout below /root is closed to them,
    /// so the programs are copied to a place that is not.
    pub(crate) fn open_to_all(self, network: &str) -> Result<Self> {
        if runs_for_all(&self.proxy) {
            return Ok(self);
        }
        let folder = Path::new(COPIES).join(network);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let copy = |from: PathBuf| {
            let to = folder.join(from.file_name().unwrap_or_default());
            fs::copy(&from, &to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
            anyhow::Ok(to)
        };
        let (proxy, destination, policy) = (copy(self.proxy)?, copy(self.destination)?, copy(self.policy)?);
        Ok(Self { proxy, destination, policy, ..self })
    }
}

/// Removes the copies of networks that are gone.
pub(crate) fn remove_stale_copies() {
    for copies in fs::read_dir(COPIES).into_iter().flatten().flatten() {
        let lives = Path::new("/run/outrigger").join(copies.file_name()).exists();
        if !lives && let Err(e) = fs::remove_dir_all(copies.path()) {
            eprintln!("warning: cannot remove {}: {e}", copies.path().display());
        }
    }
}

fn runs_for_all(program: &Path) -> bool {
    let allows = |path: &Path, bits| fs::metadata(path).is_ok_and(|m| m.permissions().mode() & bits == bits);
    allows(program, 0o005) && program.ancestors().skip(1).all(|folder| allows(folder, 0o001))
}
