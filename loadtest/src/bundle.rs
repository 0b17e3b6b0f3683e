//! The bundle: the folder of files that describes a run, written and read.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use collector::trace::Trace;

pub(crate) mod collector_files;
mod latency_files;
pub(crate) mod schema;

use crate::drive::DriveOutcome;
use crate::measure::RequestKind;
use collector_files::CollectorArchive;
use latency_files::{exemplars, interval_log, percentile_file, slug};
use schema::{Phase, Run, SCHEMA};

/// Creates the folder that holds the bundles and checks that it is writable.
pub(crate) fn create_parent(out: &Path) -> anyhow::Result<()> {
    let made = fs::create_dir_all(out).and_then(|()| tempfile::tempfile_in(out));
    made.map(drop)
        .with_context(|| format!("cannot write to the folder {} (choose another with --out)", out.display()))
}

/// A run and its folder.
pub(crate) struct Bundle {
    /// `runs/<start>-<profile>-<seed>`.
    pub(crate) folder: PathBuf,
    /// `run.json`.
    pub(crate) run: Run,
    /// The slow request that the report draws.
    pub(crate) slow: Option<Trace>,
}

impl Bundle {
    /// Creates a bundle in a new folder below `out`.
    pub(crate) fn new(out: &Path, run: Run, slow: Option<Trace>) -> anyhow::Result<Self> {
        let start = run.started_at.format("%Y%m%dT%H%M%SZ");
        let name = format!("{start}-{}-{}", run.profile.name(), run.seed);
        // Two runs of one seed may start in the same second. The new folder is empty; the complete bundle replaces it.
        for folder in std::iter::once(name.clone()).chain((2..).map(|number| format!("{name}.{number}"))) {
            let folder = out.join(folder);
            match fs::create_dir(&folder) {
                Ok(()) => return Ok(Bundle { folder, run, slow }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("cannot create the folder {}", folder.display()));
                }
            }
        }
        bail!("no free folder name for {name}")
    }

    /// Returns the text of `run.json`.
    pub(crate) fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(&self.run)?)
    }

    /// Writes every file to a temporary folder and renames it, so that a bundle is complete or absent. `html` is the rendered
    /// report.
    pub(crate) fn write(
        &self,
        driven: &DriveOutcome,
        archive: &CollectorArchive,
        html: &str,
    ) -> anyhow::Result<()> {
        let out = self.folder.parent().unwrap_or(Path::new("."));
        let unfinished = tempfile::Builder::new().prefix(".unfinished-").tempdir_in(out)?;
        self.write_files(unfinished.path(), driven, archive, html)
            .with_context(|| format!("cannot write the bundle {}", self.folder.display()))?;
        // Only the owner can read a temporary folder.
        fs::set_permissions(unfinished.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        fs::rename(unfinished.path(), &self.folder)
            .with_context(|| format!("cannot rename the bundle to {}", self.folder.display()))?;
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
        for row in self.run.requests.iter().filter(|row| row.phase == Phase::Schedule) {
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
        let text = fs::read(&file).with_context(|| format!("no run at {}", path.display()))?;
        let parsed = serde_json::from_slice::<serde_json::Value>(&text);
        let schema = parsed.with_context(|| format!("{} is damaged", file.display()))?["schema"].clone();
        anyhow::ensure!(
            schema == SCHEMA,
            "{} has schema {schema}, but this build reads {SCHEMA}",
            file.display()
        );
        let run: Run =
            serde_json::from_slice(&text).with_context(|| format!("{} is not a run", file.display()))?;
        let slow = run.slow_trace.and_then(|id| collector_files::read_trace(folder, id));
        Ok(Bundle { folder: folder.to_owned(), run, slow })
    }
}
