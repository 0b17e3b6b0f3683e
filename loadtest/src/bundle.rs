//! The bundle: the folder of files that describes a run, written and read.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use collector::trace::Trace;
use nix::sys::statvfs::statvfs;

pub(crate) mod collector_files;
mod latency_files;
pub(crate) mod schema;

use crate::bounded_input;
use crate::drive::DriveOutcome;
use crate::measure::RequestKind;
use crate::terminal;
use collector_files::CollectorArchive;
use latency_files::{exemplars, interval_log, percentile_file, slug};
use schema::{Phase, READABLE, Run, SCHEMA};

/// Maximum size of `run.json`. A run of a day takes 20 MiB.
const MAX_RUN_JSON: u64 = 256 << 20;

/// Space of a bundle without its traces: mostly the report with its plots.
const BUNDLE_BYTES: u64 = 8 << 20;
/// Space of the compressed trace of one request, rounded up.
const TRACE_BYTES: u64 = 2 << 10;

/// Creates the folder that holds the bundles. Checks that it is writable and has space for the bundle of a run.
pub(crate) fn prepare_parent(out: &Path, requests: usize) -> anyhow::Result<()> {
    let made = fs::create_dir_all(out).and_then(|()| tempfile::tempfile_in(out));
    made.map(drop).with_context(|| {
        format!("cannot write to the folder {} (choose another with --out)", out.display())
    })?;
    ensure_space(out, BUNDLE_BYTES + TRACE_BYTES * requests as u64)
}

/// Fails if the file system of `folder` has less than `needed` bytes of free space.
fn ensure_space(folder: &Path, needed: u64) -> anyhow::Result<()> {
    let system =
        statvfs(folder).with_context(|| format!("cannot read the free space of {}", folder.display()))?;
    #[allow(clippy::useless_conversion, reason = "the type of a count of blocks depends on the platform")]
    let free = u64::from(system.blocks_available()).saturating_mul(system.fragment_size());
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    anyhow::ensure!(
        free >= needed,
        "the folder {} has {} MiB of free space, but the bundle may need {} MiB (choose another folder with --out)",
        folder.display(),
        free >> 20,
        mib(needed)
    );
    Ok(())
}

/// A run and its folder.
pub(crate) struct Bundle {
    /// `runs/<start>-<profile>-<seed>`, with a number if that is taken.
    pub(crate) folder: PathBuf,
    /// `run.json`.
    pub(crate) run: Run,
    /// The slow request that the report draws.
    pub(crate) slow: Option<Trace>,
}

impl Bundle {
    /// Creates a bundle that [`Bundle::write`] writes to a new folder below `out`.
    pub(crate) fn new(out: &Path, run: Run, slow: Option<Trace>) -> Self {
        let start = run.started_at.format("%Y%m%dT%H%M%SZ");
        let folder = out.join(format!("{start}-{}-{}", run.profile.name(), run.seed));
        Bundle { folder, run, slow }
    }

    /// Returns the text of `run.json`, which is safe to print on a terminal.
    pub(crate) fn json(&self) -> anyhow::Result<String> {
        let json = serde_json::to_string_pretty(&self.run)?;
        Ok(terminal::escaped_json(&json).into_owned())
    }

    /// Writes every file to a temporary folder and renames it, so that a bundle is complete or absent. `html` is the rendered
    /// report. If the folder exists, because two runs of one seed started in the same second, the next free name is used.
    pub(crate) fn write(
        &mut self,
        driven: &DriveOutcome,
        archive: &CollectorArchive,
        html: &str,
    ) -> anyhow::Result<()> {
        let out = self.folder.parent().unwrap_or(Path::new("."));
        let failed = || format!("the bundle was not written to the folder {}", self.folder.display());
        let unfinished =
            tempfile::Builder::new().prefix(".unfinished-").tempdir_in(out).with_context(failed)?;
        self.write_files(unfinished.path(), driven, archive, html).with_context(failed)?;
        // Only the owner can enter a temporary folder; a bundle is for others, too.
        fs::set_permissions(unfinished.path(), Permissions::from_mode(0o755)).with_context(failed)?;
        self.folder = rename_to_free(unfinished.path(), &self.folder).with_context(failed)?;
        // After the rename nothing is left to remove.
        let _ = unfinished.keep();
        Ok(())
    }

    fn write_files(
        &self,
        folder: &Path,
        driven: &DriveOutcome,
        archive: &CollectorArchive,
        html: &str,
    ) -> anyhow::Result<()> {
        let measured = &driven.measured;
        let write = |name: &str, content: &[u8]| {
            fs::write(folder.join(name), content).with_context(|| name.to_owned())
        };
        write("run.json", (self.json()? + "\n").as_bytes())?;
        let measured_rows =
            self.run.requests.iter().filter(|row| row.phase == Phase::Schedule && row.latency_us.is_some());
        for row in measured_rows {
            if let Some(name) = RequestKind::ALL.into_iter().find(|name| name.as_str() == row.name) {
                let file = format!("{}.hgrm", slug(&row.name));
                write(&file, percentile_file(&measured.latency(Some(name))).as_bytes())?;
            }
        }
        let zero = driven.zero.unwrap_or_else(SystemTime::now);
        write("latency.hlog", &interval_log(measured, zero)?)?;
        write("exemplars.json", &serde_json::to_vec_pretty(&exemplars(measured))?)?;
        archive.write(folder)?;
        write("report.html", html.as_bytes())
    }

    /// Reads a bundle from its folder or from the path of its `run.json`.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new(".")) };
        let file = folder.join("run.json");
        let text = match bounded_input::read_text(&file, MAX_RUN_JSON) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                bail!("no run at {}: {} does not exist", path.display(), file.display())
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
        };
        // Checked first, since the rest depends on it. Anything else is skipped without being held in memory.
        #[derive(serde::Deserialize)]
        struct Schema {
            #[serde(default)]
            schema: serde_json::Value,
        }
        let parsed = serde_json::from_slice::<Schema>(&text);
        let Schema { schema } = parsed.with_context(|| format!("{} is damaged", file.display()))?;
        anyhow::ensure!(
            READABLE.into_iter().any(|readable| schema == readable),
            "{} has schema {schema}, but this build reads schemas up to {SCHEMA}",
            file.display()
        );
        let run: Run =
            serde_json::from_slice(&text).with_context(|| format!("{} is not a run", file.display()))?;
        let slow = match run.slow_trace {
            Some(id) => collector_files::read_trace(folder, id)?,
            None => None,
        };
        Ok(Bundle { folder: folder.to_owned(), run, slow })
    }
}

/// Renames a folder to `wanted`, or to `wanted.2`, `wanted.3` … if that exists. Returns the new path.
fn rename_to_free(folder: &Path, wanted: &Path) -> io::Result<PathBuf> {
    let mut number = 1;
    loop {
        let mut target = wanted.as_os_str().to_owned();
        if number > 1 {
            target.push(format!(".{number}"));
        }
        // A rename replaces an empty folder, but not one with files.
        match fs::rename(folder, &target) {
            Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty) => {
                number += 1;
            }
            renamed => return renamed.map(|()| target.into()),
        }
    }
}

#[cfg(test)]
mod tests;
