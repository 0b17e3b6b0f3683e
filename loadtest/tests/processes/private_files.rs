//! The files of a stack are private, and what `up` prints is complete and free of secrets.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{Stack, eventually, get_blocking, http, run};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The password of a database URL.
fn password(url: &str) -> &str {
    url.split_once("://").unwrap().1.split_once('@').unwrap().0.split_once(':').unwrap().1
}

/// The command lines of all processes of this machine, where the kernel shows them.
fn command_lines() -> String {
    let Ok(processes) = fs::read_dir("/proc") else { return String::new() };
    let files = processes.flatten().map(|process| process.path().join("cmdline"));
    files.map(|file| String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned()).collect()
}

#[test]
fn files_are_readable_by_the_owner_only_and_the_password_is_masked() {
    let stack = Stack::start_small();
    let (folder, printed) = (&stack.addresses.folder, stack.printed.to_string());
    // Root runs PostgreSQL as another user, whose group can pass through the folder.
    let expected = if nix::unistd::geteuid().is_root() { 0o710 } else { 0o700 };
    assert_eq!(mode(folder), expected, "{}", folder.display());
    let mut files = 0;
    for file in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        assert_eq!(mode(&file), if file.is_dir() { 0o700 } else { 0o600 }, "{}", file.display());
        files += usize::from(file.is_file());
    }
    assert_eq!(files, 12, "the logs of eleven processes, and the addresses");

    let password = password(&stack.addresses.database_url);
    assert!(password.len() >= 32);
    assert!(!printed.contains(password) && printed.contains(":***@127.0.0.1"), "{printed}");
    assert!(!command_lines().contains(password), "the command lines contain the password");
    for log in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if log.extension().is_some_and(|extension| extension == "log") {
            let text = fs::read_to_string(&log).unwrap();
            assert!(!text.contains(password), "{} contains the password", log.display());
        }
    }
}

#[test]
fn a_database_that_refuses_the_password_is_named_without_it() {
    let stack = Stack::start_small();
    let wrong = stack.addresses.database_url.replace(password(&stack.addresses.database_url), "hunter2");
    let masked = wrong.replace("hunter2", "***");
    let mut up = crate::harness::workbench();
    let finished = run(up.args(["up", "--free-ports"]).env("DATABASE_URL", &wrong));
    let stderr = finished.failed(2, &format!("cannot use the database {masked}")).stderr();
    assert!(!stderr.contains("hunter2"), "{stderr}");
    assert_eq!(stderr.matches("password authentication failed").count(), 1, "{stderr}");
}

#[test]
fn up_prints_its_pages_and_a_command_that_loads_it() {
    let mut up = crate::harness::workbench();
    up.args(["up", "--free-ports", "--tutors", "3", "--students", "2"]);
    let mut child = up.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut text = String::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let last = line.starts_with("Press Ctrl-C");
        text.push_str(&line);
        text.push('\n');
        if last {
            break;
        }
    }
    let child = Interrupted(child);

    let row = |name: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(name));
        line.unwrap_or_else(|| panic!("no row {name:?} in {text}"))
    };
    let url = |name: &str| row(name).split_whitespace().find(|word| word.starts_with("http://")).unwrap();
    for page in ["frontend", "traces"] {
        assert!(get_blocking(url(page)).unwrap().contains("<html"), "{page}: {}", row(page));
    }
    assert!(get_blocking(&format!("{}/api/services", url("Jaeger API"))).is_some());
    let database = row("database");
    assert!(database.contains(":***@"), "{database}");
    let file = database.split("password in ").nth(1).unwrap().trim();
    let complete: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    assert!(!text.contains(password(complete["database_url"].as_str().unwrap())), "{text}");

    let command = text.lines().find(|line| line.contains(" load --target ")).unwrap().trim();
    let out = tempfile::tempdir().unwrap();
    let out = out.path().display();
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{command} --rate 20 --duration 1s --out '{out}'")).stdin(Stdio::null());
    run(&mut shell).succeeded();
    drop(child);
}

/// A stack that ends with the test.
struct Interrupted(std::process::Child);

impl Drop for Interrupted {
    fn drop(&mut self) {
        crate::harness::send_signal(crate::harness::pid_of(&self.0), nix::sys::signal::Signal::SIGINT);
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_logs_of_a_stack_are_bounded() {
    let stack = Stack::start_with(|up| {
        up.args(["--tutors", "2", "--students", "2", "--log-file-max-bytes", "65536"]);
    });
    let folder = stack.addresses.folder.clone();
    let size = |name: &str| fs::metadata(folder.join(name)).map_or(0, |file| file.len());
    let client = http();
    for _ in 0..600 {
        client.get(&stack.addresses.frontend).send().await.unwrap().error_for_status().unwrap();
    }
    eventually("the log was rotated", || size("frontend.log.1") > 0);
    let (current, older) = (size("frontend.log"), size("frontend.log.1"));
    assert!(current + older <= 65536, "{current} and {older} bytes");

    // PostgreSQL writes a line for each failed statement.
    let mut connection =
        <sqlx::PgConnection as sqlx::Connection>::connect(&stack.addresses.database_url).await.unwrap();
    for _ in 0..800 {
        let failed = sqlx::raw_sql("SELECT nonsense FROM nowhere WHERE this = 'a statement that is logged'");
        failed.execute(&mut connection).await.unwrap_err();
    }
    eventually("the database's log was rotated", || size("database.log.1") > 0);
    let (current, older) = (size("database.log"), size("database.log.1"));
    assert!(current + older <= 65536, "{current} and {older} bytes");
}
