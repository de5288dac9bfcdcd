//! The server's unix socket: who may reach it, and whose it is.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use thiserror::Error;
use tokio::net::{UnixListener, UnixStream};

/// Why the socket cannot be listened on.
#[derive(Debug, Error)]
pub enum SocketError {
    #[error("{0}: another server answers on this socket; stop it, or choose another path")]
    Live(PathBuf),
    #[error("{0} exists and is no socket; remove it, or choose another path")]
    NoSocket(PathBuf),
    #[error("{path}: cannot {what}: {cause}")]
    Io { path: PathBuf, what: &'static str, cause: io::Error },
}

/// Listens on `path` (0660), in a folder made for it (0750) if there is none; `group` owns both.
///
/// A socket that nobody answers on, left by a server that died, is replaced.
pub(super) async fn bind(path: &Path, group: Option<u32>) -> Result<UnixListener, SocketError> {
    let failed = |what| move |cause| SocketError::Io { path: path.into(), what, cause };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) {
        // A folder that exists has an owner who chose its mode.
        DirBuilder::new().recursive(true).mode(0o750).create(folder).map_err(failed("make its folder"))?;
        fs::set_permissions(folder, Permissions::from_mode(0o750)).map_err(failed("set its folder's mode"))?;
        chown(folder, None, group).map_err(failed("give its folder to the group"))?;
    }
    clear(path).await?;
    let listener = UnixListener::bind(path).map_err(failed("listen on it"))?;
    fs::set_permissions(path, Permissions::from_mode(0o660)).map_err(failed("set its mode"))?;
    chown(path, None, group).map_err(failed("give it to the group"))?;
    Ok(listener)
}

async fn clear(path: &Path) -> Result<(), SocketError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(found) if !found.file_type().is_socket() => return Err(SocketError::NoSocket(path.into())),
        _ => {}
    }
    match UnixStream::connect(path).await {
        // Only a refused connection proves that no one listens; a full backlog, say, does not.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)
            .map_err(|cause| SocketError::Io { path: path.into(), what: "remove the stale socket", cause }),
        Ok(_) => Err(SocketError::Live(path.into())),
        Err(cause) => Err(SocketError::Io { path: path.into(), what: "tell whether a server is alive on it", cause }),
    }
}
