//! The stacks that `up` and `demo` run on this machine, as other commands see them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::addresses::FILE;
pub(crate) use super::addresses::StackProcess;
use super::control::{Control, RestartRequest};
use super::folder;

/// An error that prevents the use of a running stack; exit status 2.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "no stack runs: found none in {} (start one with `workbench up`, or name its folder with --stack)",
        folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    None { folders: Vec<PathBuf> },
    #[error("{} is not the folder of a stack: cannot read {FILE} (`up` prints the folder with the logs)", folder.display())]
    NotAStack { folder: PathBuf, source: io::Error },
    #[error("the stack in {} does not run", folder.display())]
    NotRunning { folder: PathBuf },
    #[error("the stack in {} has stopped", folder.display())]
    Stopped { folder: PathBuf, source: io::Error },
    #[error("cannot reach the process that runs the stack in {}", folder.display())]
    Unreachable { folder: PathBuf, source: io::Error },
}

/// A stack that another process runs.
#[derive(Debug)]
pub(crate) struct RunningStack {
    pub(crate) folder: PathBuf,
    control: Control,
    started_at_ms: i64,
}

/// The part of the stack's file that is read.
#[derive(Deserialize)]
struct File {
    started_at_ms: i64,
    processes: BTreeMap<String, StackProcess>,
}

impl RunningStack {
    /// Opens the stack in `folder`, or the newest one if no folder is given.
    pub(crate) fn find(folder: Option<&Path>) -> Result<Self, Error> {
        match folder {
            Some(folder) => Self::open(folder),
            None => Self::newest(),
        }
    }

    fn open(folder: &Path) -> Result<Self, Error> {
        let owned = || folder.to_owned();
        let file = read(folder).map_err(|source| Error::NotAStack { folder: owned(), source })?;
        match Control::open(folder) {
            Ok(Some(control)) => Ok(Self { folder: owned(), control, started_at_ms: file.started_at_ms }),
            Ok(None) => Err(Error::NotRunning { folder: owned() }),
            Err(source) => Err(Error::Unreachable { folder: owned(), source }),
        }
    }

    /// Opens the stack that was started last in the folder for temporary files; in another folder that stacks use, if there is
    /// none. Stacks of other users cannot be read and are left out.
    fn newest() -> Result<Self, Error> {
        let folders = folder::parents();
        let stacks = |parent: &PathBuf| {
            let entries = fs::read_dir(parent).into_iter().flatten().flatten();
            let named = entries
                .filter(|entry| entry.file_name().to_string_lossy().starts_with(folder::PREFIX))
                .filter_map(|entry| Self::open(&entry.path()).ok());
            named.max_by_key(|stack| stack.started_at_ms)
        };
        folders.iter().find_map(stacks).ok_or(Error::None { folders })
    }

    /// Returns the processes of the stack, by the names of their instances.
    pub(crate) fn processes(&self) -> Result<BTreeMap<String, StackProcess>, Error> {
        let read = read(&self.folder).map(|file| file.processes);
        read.map_err(|source| Error::Stopped { folder: self.folder.clone(), source })
    }

    /// Requests a restart of the process of `instance`; of the next one, if it has ended.
    pub(crate) fn request_restart(&mut self, instance: &str, pid: Option<u32>) -> Result<(), Error> {
        let sent = self.control.send(&RestartRequest { instance: instance.to_owned(), pid });
        sent.map_err(|source| Error::Stopped { folder: self.folder.clone(), source })
    }
}

fn read(folder: &Path) -> io::Result<File> {
    Ok(serde_json::from_slice(&fs::read(folder.join(FILE))?)?)
}
