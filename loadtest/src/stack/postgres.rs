//! A private PostgreSQL server run from the installed binaries: their location, user and arguments.
//!
//! Durability stays at PostgreSQL's defaults, because commits are part of the measurement. Only initdb skips fsync: the
//! folder is not used after a crash of the machine.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{self as unix, DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid, User};
use tokio::process::Command;

use super::error::Error;

/// The database role that owns the cluster.
const SUPERUSER: &str = "workbench";

/// Variable that carries the password of the new cluster, because arguments are visible to all users.
pub(crate) const PASSWORD: &str = "POSTGRES_PASSWORD";

/// Variables that PostgreSQL's server or its clients read (documentation of libpq, section "Environment Variables").
const VARIABLES: [&str; 35] = [
    "PGDATA",
    "PGHOST",
    "PGHOSTADDR",
    "PGPORT",
    "PGDATABASE",
    "PGUSER",
    "PGPASSWORD",
    "PGPASSFILE",
    "PGREQUIREAUTH",
    "PGCHANNELBINDING",
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGOPTIONS",
    "PGAPPNAME",
    "PGSSLMODE",
    "PGREQUIRESSL",
    "PGSSLCOMPRESSION",
    "PGSSLCERT",
    "PGSSLKEY",
    "PGSSLCERTMODE",
    "PGSSLROOTCERT",
    "PGSSLCRL",
    "PGSSLCRLDIR",
    "PGSSLSNI",
    "PGSSLNEGOTIATION",
    "PGREQUIREPEER",
    "PGGSSENCMODE",
    "PGKRBSRVNAME",
    "PGTARGETSESSIONATTRS",
    "PGCONNECT_TIMEOUT",
    "PGCLIENTENCODING",
    "PGDATESTYLE",
    "PGTZ",
    "PGGEQO",
    "PGSYSCONFDIR",
];

/// Location of the programs `initdb` and `postgres`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Binaries {
    /// On the search path.
    OnPath,
    /// In this folder.
    In(PathBuf),
}

impl Binaries {
    /// Searches `folder` only, if given; otherwise the search path, then the folders of common packages.
    pub(crate) async fn find(folder: Option<&Path>) -> Result<Self, Error> {
        let candidates = match folder {
            Some(folder) => vec![Self::In(folder.to_owned())],
            None => std::iter::once(Self::OnPath).chain(usual_folders().into_iter().map(Self::In)).collect(),
        };
        for candidate in candidates {
            if candidate.runs("initdb").await && candidate.runs("postgres").await {
                return Ok(candidate);
            }
        }
        Err(Error::NoPostgres { searched: folder.map(Path::to_owned) })
    }

    fn program(&self, name: &str) -> PathBuf {
        match self {
            Self::OnPath => PathBuf::from(name),
            Self::In(folder) => folder.join(name),
        }
    }

    /// Returns whether `user` can run the server's programs with `folder` as the current one.
    pub(super) async fn run_in(&self, folder: &Path, user: &ServerUser) -> bool {
        let mut command = Command::new(self.program("initdb"));
        command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.current_dir(folder).uid(user.uid.as_raw()).gid(user.gid.as_raw());
        command.status().await.is_ok_and(|status| status.success())
    }

    async fn runs(&self, name: &str) -> bool {
        let mut command = Command::new(self.program(name));
        command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().await.is_ok_and(|status| status.success())
    }
}

/// Returns the folders of Debian, Red Hat and Homebrew packages, the newest version of each first.
fn usual_folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for (parent, prefix) in [
        ("/usr/lib/postgresql", ""),
        ("/usr", "pgsql-"),
        ("/opt/homebrew/opt", "postgresql@"),
        ("/usr/local/opt", "postgresql@"),
        ("/home/linuxbrew/.linuxbrew/opt", "postgresql@"),
    ] {
        let versions = newest_first(Path::new(parent), prefix);
        folders.extend(versions.iter().map(|v| Path::new(parent).join(format!("{prefix}{v}")).join("bin")));
    }
    folders
}

fn newest_first(parent: &Path, prefix: &str) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let version = |entry: fs::DirEntry| entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok();
    let mut versions: Vec<u32> = entries.flatten().filter_map(version).collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    versions
}

/// Settings of a cluster in an existing folder.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) binaries: Binaries,
    /// The stack's folder; the cluster uses a subfolder.
    pub(crate) folder: PathBuf,
    pub(crate) port: u16,
    pub(crate) password: String,
    /// Maximum number of connections; PostgreSQL's default if the stack is not scaled.
    pub(crate) max_connections: u32,
}

/// PostgreSQL's default of `max_connections`.
pub(crate) const MAX_CONNECTIONS: u32 = 100;

impl Cluster {
    /// Returns whether an earlier keeper has created the cluster.
    pub(crate) fn exists(&self) -> bool {
        data(&self.folder).join("PG_VERSION").exists()
    }

    /// Creates the cluster's folder for the server's user and returns the `initdb` command.
    pub(crate) fn initdb(&self) -> io::Result<Command> {
        let home = home(&self.folder);
        fs::DirBuilder::new().mode(0o700).create(&home)?;
        let password = home.join("password");
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&password)?;
        file.write_all(self.password.as_bytes())?;
        if let Some(user) = ServerUser::find()? {
            for path in [&home, &password] {
                unix::chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
            }
        }
        let mut command = self.command("initdb")?;
        command
            .args(["--no-sync", "--no-instructions", "--encoding=UTF8", "--locale=C", "--auth=scram-sha-256"])
            .args(["--username", SUPERUSER, "--pwfile"])
            .arg(password);
        Ok(command)
    }

    /// Returns the server's command: loopback only and no Unix socket, whose path could be too long.
    pub(crate) fn postgres(&self) -> io::Result<Command> {
        let mut command = self.command("postgres")?;
        command.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        command.arg("-c").arg(format!("port={}", self.port));
        command.arg("-c").arg(format!("max_connections={}", self.max_connections));
        Ok(command)
    }

    /// Returns the URL for clients.
    pub(crate) fn url(&self) -> String {
        format!("postgres://{SUPERUSER}:{}@127.0.0.1:{}/postgres", self.password, self.port)
    }

    fn command(&self, program: &str) -> io::Result<Command> {
        let mut command = Command::new(self.binaries.program(program));
        command.arg("-D").arg(data(&self.folder)).current_dir(home(&self.folder)).stdin(Stdio::null());
        // A separate process group, so that Ctrl-C in a terminal reaches the workbench only, which stops its children in order.
        command.process_group(0);
        command.env_remove(PASSWORD);
        without_client_variables(&mut command);
        if let Some(user) = ServerUser::find()? {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        Ok(command)
    }
}

/// Removes the variables of PostgreSQL's server and clients from the command's environment, because those of the caller are
/// for another server.
pub(super) fn without_client_variables(command: &mut Command) {
    for name in VARIABLES {
        command.env_remove(name);
    }
}

/// Returns the process id of the server in this stack's folder if it accepts connections. A server that was killed leaves its
/// file, so that the id may be that of an earlier one.
pub(super) fn ready_server(folder: &Path) -> Option<u32> {
    let file = fs::read_to_string(data(folder).join("postmaster.pid")).ok()?;
    // The eighth line is the server's state, which pg_ctl reads too.
    let is_ready = file.lines().nth(7)?.trim() == "ready";
    is_ready.then(|| file.lines().next()?.trim().parse().ok()).flatten()
}

/// Ends a server that still runs in this stack's folder.
pub(crate) fn kill_left_over(folder: &Path) {
    // The server writes its process id to this file and removes the file when it ends.
    let pid_file = data(folder).join("postmaster.pid");
    let pid = || fs::read_to_string(&pid_file).ok()?.lines().next()?.parse().ok().map(Pid::from_raw);
    let start = Instant::now();
    while let Some(pid) = pid() {
        let signal = if start.elapsed() < Duration::from_secs(5) { Signal::SIGQUIT } else { Signal::SIGKILL };
        if kill(pid, signal).is_err() || signal == Signal::SIGKILL {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn home(folder: &Path) -> PathBuf {
    folder.join("postgres")
}

fn data(folder: &Path) -> PathBuf {
    home(folder).join("data")
}

/// The user that runs the server if this process is root, because PostgreSQL refuses to run as root.
pub(super) struct ServerUser {
    pub(super) name: &'static str,
    pub(super) uid: Uid,
    pub(super) gid: Gid,
}

impl ServerUser {
    /// Returns the user; `None` if this process is not root.
    pub(super) fn find() -> io::Result<Option<Self>> {
        if !nix::unistd::geteuid().is_root() {
            return Ok(None);
        }
        for name in ["postgres", "nobody"] {
            if let Some(user) = User::from_name(name)? {
                return Ok(Some(Self { name, uid: user.uid, gid: user.gid }));
            }
        }
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            "PostgreSQL refuses to run as root, and neither the user postgres nor nobody exists",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn explains_what_to_install() {
        let empty = tempfile::tempdir().unwrap();
        let error = Binaries::find(Some(empty.path())).await.unwrap_err().to_string();
        assert!(error.contains(empty.path().to_str().unwrap()), "{error}");
        assert!(error.contains("apt-get install postgresql"), "{error}");
    }

    #[test]
    fn sorts_the_newest_version_first() {
        let parent = tempfile::tempdir().unwrap();
        for name in ["v9", "v15", "v17", "common", "vx"] {
            fs::create_dir(parent.path().join(name)).unwrap();
        }
        assert_eq!(newest_first(parent.path(), "v"), [17, 15, 9]);
    }
}
