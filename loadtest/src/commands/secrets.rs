//! `workbench secrets`: writes the secrets that the roles of a system share to a folder.
//!
//! `jwt_secret` signs the tokens of every gateway. With `trace_secret`, the balancer continues the traces of the load generator.
//! `pgpass` is PostgreSQL's password file for any server. Only the owner can read the files. Existing files are kept, so that a
//! restarted system keeps its secrets.

use std::io::{ErrorKind, Write as _};
use std::path::Path;

use anyhow::Context as _;
use tempfile::NamedTempFile;

use crate::stack::secret::random;
use crate::usage::UsageError;

/// Writes the missing files.
pub(crate) fn write(folder: &Path) -> anyhow::Result<()> {
    write_once(folder, "jwt_secret", &random(48))?;
    write_once(folder, "trace_secret", &random(48))?;
    write_once(folder, "pgpass", &format!("*:*:*:*:{}\n", random(32)))
}

/// Writes the file atomically, unless it exists.
fn write_once(folder: &Path, name: &str, content: &str) -> anyhow::Result<()> {
    let path = folder.join(name);
    let failed = || format!("cannot write to the folder {}", folder.display());
    let mut file = NamedTempFile::new_in(folder).with_context(failed).map_err(UsageError)?;
    file.write_all(content.as_bytes()).with_context(failed)?;
    match file.persist_noclobber(&path) {
        Err(error) if error.error.kind() != ErrorKind::AlreadyExists => {
            Err(error.error).with_context(|| format!("cannot write {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn keeps_existing_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let read = || {
            ["jwt_secret", "trace_secret", "pgpass"]
                .map(|name| fs::read_to_string(folder.path().join(name)).unwrap())
        };
        write(folder.path()).unwrap();
        let first = read();
        write(folder.path()).unwrap();
        assert_eq!(read(), first);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn secrets_differ_and_are_readable_by_the_owner_only() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let secrets = folders.each_ref().map(|folder| {
            write(folder.path()).unwrap();
            let path = folder.path().join("jwt_secret");
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            fs::read_to_string(path).unwrap()
        });
        assert!(secrets[0].len() >= 32);
        assert_ne!(secrets[0], secrets[1]);
    }
}
