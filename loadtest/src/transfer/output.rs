//! An output file or stdout that receives the complete output or nothing.

use std::fs::{self, Permissions};
use std::io::{self, BufWriter, Seek as _, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, ensure};
use tempfile::NamedTempFile;

use crate::terminal;
use crate::usage::UsageError;

const COMPRESSION: i32 = 3;

/// Writes to a temporary file, which is removed on drop unless the output is finished.
pub(super) struct Output {
    /// The file that errors name.
    name: String,
    target: Option<PathBuf>,
    packing: Packing,
}

enum Packing {
    Plain(BufWriter<NamedTempFile>),
    Zstd(zstd::Encoder<'static, BufWriter<NamedTempFile>>),
}

impl Output {
    /// Creates the output; `-` is stdout. Fails with a usage error if no such file can be created.
    pub(super) fn to(name: &str) -> anyhow::Result<Self> {
        let target = if name == "-" { None } else { Some(target(Path::new(name)).map_err(UsageError)?) };
        let mut builder = tempfile::Builder::new();
        // The same mode as any new file, subject to the umask.
        builder.prefix(".workbench-").permissions(Permissions::from_mode(0o666));
        let temporary = match &target {
            Some(target) => {
                let folder = target.parent().unwrap_or(Path::new("/"));
                let made = builder.tempfile_in(folder);
                made.with_context(|| format!("cannot write {name}")).map_err(UsageError)?
            }
            None => builder.tempfile().context("cannot create a temporary file for stdout")?,
        };
        let file = BufWriter::new(temporary);
        let packing = if name.ends_with(".zst") {
            let mut encoder = zstd::Encoder::new(file, COMPRESSION)?;
            // The checksum detects files that were damaged in transit.
            encoder.include_checksum(true)?;
            Packing::Zstd(encoder)
        } else {
            Packing::Plain(file)
        };
        let name = target.as_ref().map_or("a temporary file", |_| name).to_owned();
        Ok(Self { name, target, packing })
    }

    /// Renames the file to its final name, or writes everything to stdout. Returns the number of bytes.
    pub(super) fn finish(self) -> anyhow::Result<u64> {
        let file = match self.packing {
            Packing::Plain(file) => file,
            Packing::Zstd(encoder) => {
                encoder.finish().with_context(|| format!("cannot write {}", self.name))?
            }
        };
        let file = file.into_inner().map_err(io::IntoInnerError::into_error);
        let mut file = file.with_context(|| format!("cannot write {}", self.name))?;
        let bytes = file.as_file().metadata()?.len();
        match self.target {
            Some(target) => {
                let synced = file.as_file().sync_all();
                let persisted = synced.and_then(|()| Ok(file.persist(&target)?));
                persisted.with_context(|| format!("cannot write {}", self.name))?;
            }
            None => {
                file.rewind()?;
                terminal::print_from(file.as_file()).context("cannot write to stdout")?;
            }
        }
        Ok(bytes)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.packing {
            Packing::Plain(file) => file.write(bytes),
            Packing::Zstd(encoder) => encoder.write(bytes),
        };
        let named = |error: io::Error| {
            let reason = terminal::os_reason(&error);
            io::Error::new(error.kind(), format!("cannot write {}: {reason}", self.name))
        };
        written.map_err(named)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.packing {
            Packing::Plain(file) => file.flush(),
            Packing::Zstd(encoder) => encoder.flush(),
        }
    }
}

/// Returns the target of a symbolic link, or the path itself.
fn target(name: &Path) -> anyhow::Result<PathBuf> {
    if let Ok(there) = fs::metadata(name) {
        // A rename would replace a device by a file.
        ensure!(there.is_file(), "{} is not a regular file (- writes to stdout)", name.display());
        return Ok(fs::canonicalize(name)?);
    }
    let folder = name.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = name.file_name().ok_or_else(|| anyhow!("{} is not a file name", name.display()))?;
    let folder = fs::canonicalize(folder)
        .with_context(|| format!("cannot write {}: the folder {}", name.display(), folder.display()))?;
    Ok(folder.join(file))
}
