//! Where the programs are, and how other users than root can run them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

/// Copies of programs that only root can reach where they are, such as those in a checkout below /root.
const COPIES: &str = "/var/lib/outrigger/bench";

/// A program that was built together with this one.
pub(crate) fn ours(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    ensure!(path.is_file(), "{} is missing: run `cargo build --release --workspace --bins`", path.display());
    Ok(path)
}

/// The program itself, or a copy of it where its folder is closed to others.
pub(crate) fn for_anyone(program: &Path) -> Result<PathBuf> {
    let open = |folder: &Path| fs::metadata(folder).is_ok_and(|found| found.permissions().mode() & 0o001 != 0);
    if program.ancestors().skip(1).all(open) {
        return Ok(program.to_owned());
    }
    let copy = Path::new(COPIES).join(program.file_name().context("a program without a name")?);
    fs::create_dir_all(COPIES).with_context(|| format!("cannot make {COPIES}"))?;
    let _ = fs::remove_file(&copy);
    fs::copy(program, &copy).with_context(|| format!("cannot copy {} to {}", program.display(), copy.display()))?;
    Ok(copy)
}
