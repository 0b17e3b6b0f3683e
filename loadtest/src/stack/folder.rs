//! The folder of a stack, for its logs, its addresses and a private database. Only its owner can read it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{self as unix, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::error::Error;
use super::postgres::{Binaries, ServerUser};

/// Folders to use if PostgreSQL's user cannot enter the folder for temporary files.
const PUBLIC: [&str; 2] = ["/tmp", "/var/tmp"];

/// First part of the folder's name.
pub(super) const PREFIX: &str = "workbench-";

/// Returns the folders in which [`create`] creates one.
pub(super) fn parents() -> Vec<PathBuf> {
    let temporary = std::env::temp_dir();
    let others = PUBLIC.map(PathBuf::from).into_iter().filter(|public| *public != temporary);
    std::iter::once(temporary.clone()).chain(others).collect()
}

/// Creates the folder. If this process is root, the user that runs `server` can pass through the folder.
pub(super) async fn create(server: Option<&Binaries>) -> Result<TempDir, Error> {
    let parents = parents();
    let temporary = parents[0].clone();
    let user = match server {
        Some(_) => {
            ServerUser::find().map_err(|source| Error::Io { failed: "cannot run PostgreSQL", source })?
        }
        None => None,
    };
    let (Some(server), Some(user)) = (server, user) else { return private(&temporary) };
    for parent in &parents {
        let folder = private(parent)?;
        let passable = unix::chown(folder.path(), None, Some(user.gid.as_raw()))
            .and_then(|()| fs::set_permissions(folder.path(), Permissions::from_mode(0o710)));
        passable.map_err(|source| failed(parent, source))?;
        if server.run_in(folder.path(), &user).await {
            return Ok(folder);
        }
    }
    Err(Error::PrivateFolder { folder: temporary, user: user.name })
}

/// Creates a folder in `parent` that only its owner can enter.
fn private(parent: &Path) -> Result<TempDir, Error> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).permissions(Permissions::from_mode(0o700));
    builder.tempdir_in(parent).map_err(|source| failed(parent, source))
}

fn failed(parent: &Path, source: std::io::Error) -> Error {
    // tempfile adds its own path to the text of the error.
    let source = source.raw_os_error().map_or(source, std::io::Error::from_raw_os_error);
    Error::Folder { folder: PathBuf::from(parent), source }
}
