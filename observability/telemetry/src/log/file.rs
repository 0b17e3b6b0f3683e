//! A log file of bounded size, in two files: when `NAME` has half of the size, it is renamed to `NAME.1`, which replaces the
//! older lines.
//!
//! Considered: tracing-appender's rolling files, which rotate by time and not by size, and logrotate, which is not part of
//! every machine. The process rotates its own file, so it never waits for another process that reads a pipe.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::unistd::{dup2_stderr, dup2_stdout};

/// A log file that only this process writes, readable by its owner only.
///
/// If stdout or stderr is the same file, because the parent process opened it, they follow each rotation, so that the
/// message of a panic is in the current file too.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    /// Maximum size of each of the two files, in bytes.
    half: u64,
    file: File,
    stdout: bool,
    stderr: bool,
}

impl LogFile {
    /// Opens or creates the file at `path`, to which lines are appended. Both files together have at most `max_bytes`, or one
    /// line.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be created or written.
    pub fn open(path: &Path, max_bytes: u64) -> io::Result<Self> {
        let file = append(path)?;
        let (stdout, stderr) = (is_same(&file, &io::stdout())?, is_same(&file, &io::stderr())?);
        Ok(Self { path: path.to_owned(), half: max_bytes / 2, file, stdout, stderr })
    }

    /// Returns the path of the older lines of the log file at `path`.
    pub fn older(path: &Path) -> PathBuf {
        let mut older = path.as_os_str().to_owned();
        older.push(".1");
        older.into()
    }

    /// Renames the current file and opens a new one. After an error, writing to `file` is still possible.
    fn rotate(&mut self) -> io::Result<()> {
        match std::fs::rename(&self.path, Self::older(&self.path)) {
            // The file was removed, or renamed by a rotation that could not open the new one.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed?,
        }
        self.file = append(&self.path)?;
        if self.stdout {
            dup2_stdout(&self.file)?;
        }
        if self.stderr {
            dup2_stderr(&self.file)?;
        }
        Ok(())
    }
}

impl Write for LogFile {
    /// Writes whole lines up to the end of the current file. If a new file cannot be started, the current one grows beyond
    /// its maximum size until a later write starts the new one.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Panics write to the same file, so its size is read.
        let size = self.file.metadata()?.len();
        let available = usize::try_from(self.half.saturating_sub(size)).unwrap_or(usize::MAX);
        if bytes.len() <= available {
            return self.file.write(bytes);
        }
        match bytes[..available].iter().rposition(|byte| *byte == b'\n') {
            Some(last) => self.file.write(&bytes[..=last]),
            None if size > 0 => match self.rotate() {
                Ok(()) => self.write(bytes),
                // The error may be temporary, and returning it would lose the lines.
                Err(_) => self.file.write(bytes),
            },
            // A line that is longer than the file.
            None => {
                let line = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1);
                self.file.write(&bytes[..line])
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn is_same(file: &File, other: &impl AsFd) -> io::Result<bool> {
    let (file, other) = (file.metadata()?, File::from(other.as_fd().try_clone_to_owned()?).metadata()?);
    Ok((file.dev(), file.ino()) == (other.dev(), other.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// Returns a path in the temporary folder that no other test uses.
    fn path(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("telemetry-{name}-{}.log", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    fn read_and_remove(path: &Path) -> String {
        let text = std::fs::read_to_string(path).unwrap();
        std::fs::remove_file(path).unwrap();
        text
    }

    #[test]
    fn keeps_the_newest_lines_in_two_files_of_bounded_size() {
        let path = path("bounded");
        let mut log = LogFile::open(&path, 2_000).unwrap();
        let lines: Vec<String> = (0..1_000).map(|number| format!("line {number}\n")).collect();
        // Batches of different sizes, some larger than a file.
        let mut rest = &lines[..];
        for size in [1, 2, 200, 3, 500].into_iter().cycle() {
            let (batch, others) = rest.split_at(size.min(rest.len()));
            log.write_all(batch.concat().as_bytes()).unwrap();
            rest = others;
            if rest.is_empty() {
                break;
            }
        }
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (old, new) = (read_and_remove(&LogFile::older(&path)), read_and_remove(&path));
        assert!(old.len() <= 1_000 && new.len() <= 1_000, "{} and {} bytes", old.len(), new.len());
        assert!(old.len() > 900, "a file is used up before the next one starts");
        assert!(lines.concat().ends_with(&(old + &new)), "no line is lost between the files");
    }

    #[test]
    fn a_line_longer_than_the_file_is_kept_whole() {
        let path = path("long");
        let mut log = LogFile::open(&path, 100).unwrap();
        let long = "x".repeat(300) + "\n";
        log.write_all(format!("short\n{long}next\n").as_bytes()).unwrap();
        assert_eq!(read_and_remove(&LogFile::older(&path)), long);
        assert_eq!(read_and_remove(&path), "next\n");
    }

    #[test]
    fn a_log_whose_file_was_removed_continues_in_a_new_file() {
        let path = path("removed");
        let mut log = LogFile::open(&path, 20).unwrap();
        log.write_all(b"before\n").unwrap();
        std::fs::remove_file(&path).unwrap();
        log.write_all(b"after\n").unwrap();
        assert_eq!(read_and_remove(&path), "after\n");
    }

    #[test]
    fn a_log_that_cannot_be_rotated_continues_in_its_current_file() {
        let path = path("unrotated");
        let older = LogFile::older(&path);
        let mut log = LogFile::open(&path, 20).unwrap();
        // A file cannot replace a folder.
        std::fs::create_dir(&older).unwrap();
        log.write_all(b"line 1\nline 2\nline 3\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "line 1\nline 2\nline 3\n");
        std::fs::remove_dir(&older).unwrap();
        log.write_all(b"line 4\n").unwrap();
        assert_eq!(read_and_remove(&older), "line 1\nline 2\nline 3\n");
        assert_eq!(read_and_remove(&path), "line 4\n");
    }

    #[test]
    fn a_log_whose_new_file_cannot_be_opened_is_rotated_later() {
        let folder = path("folder");
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("log");
        let mut log = LogFile::open(&path, 20).unwrap();
        log.write_all(b"line 1\n").unwrap();
        // In a removed folder no file can be created.
        std::fs::remove_file(&path).unwrap();
        std::fs::remove_dir(&folder).unwrap();
        log.write_all(b"line 2\n").unwrap();
        std::fs::create_dir(&folder).unwrap();
        log.write_all(b"line 3\n").unwrap();
        assert_eq!(read_and_remove(&path), "line 3\n");
        std::fs::remove_dir(&folder).unwrap();
    }
}
