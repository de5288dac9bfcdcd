use std::io;
use std::process::{Command, Stdio};

use crate::Error;

/// Runs `ip` (iproute2) with the arguments in `line`, split at spaces, and returns its standard output.
pub(crate) fn ip(line: &str) -> Result<String, Error> {
    let output =
        Command::new("ip").args(line.split_whitespace()).stdin(Stdio::null()).output().map_err(|e| missing("ip", e))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Command { command: format!("ip {line}"), message })
}

/// The error for a program that could not be started, naming the Debian package that holds it.
pub(crate) fn missing(program: &str, error: io::Error) -> Error {
    let package = if program == "setpriv" { "util-linux" } else { "iproute2" };
    match error.kind() {
        io::ErrorKind::NotFound => Error::Missing { program: program.to_owned(), package },
        _ => Error::Io { what: format!("cannot start {program}"), source: error },
    }
}
