//! Standard output and error that are closed or full, and escape sequences in what is printed.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Collector, RoleProcess, closed_pipe, eventually, get_blocking, run, workbench};

/// The `run.json` of the library's snapshot, changed by `change`, in a folder of its own.
fn bundle(change: impl FnOnce(&mut Value)) -> TempDir {
    let snapshot =
        include_str!("../../src/bundle/schema/snapshots/workbench__bundle__schema__sample__run_json.snap");
    let json = snapshot.splitn(3, "---\n").nth(2).unwrap();
    let mut run: Value = serde_json::from_str(json).unwrap();
    change(&mut run);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("run.json"), run.to_string()).unwrap();
    fs::write(folder.path().join("report.html"), "<html>").unwrap();
    folder
}

/// Commands that print their result on standard output and need no system.
fn printing_commands(run: &Path, collector: &Collector) -> Vec<Command> {
    let run = run.to_str().unwrap();
    [
        vec!["--help"],
        vec!["--version"],
        vec!["serve", "cache", "--help"],
        vec!["report", run],
        vec!["report", "--json", run],
        vec!["report", "--html", run],
        vec!["traces", "export", "--format", "jaeger", "--collector", &collector.query],
    ]
    .into_iter()
    .map(|arguments| {
        let mut command = workbench();
        command.args(arguments);
        command
    })
    .collect()
}

#[test]
fn a_reader_that_closes_the_pipe_is_no_error() {
    let (folder, collector) = (bundle(|_| {}), Collector::start());
    for mut command in printing_commands(folder.path(), &collector) {
        let finished = run(command.stdout(closed_pipe()));
        assert_eq!(finished.code(), Some(0), "{command:?}: {}", finished.stderr());
        assert!(!finished.stderr().contains("error"), "{command:?}: {}", finished.stderr());
        let both_closed = command.stdout(closed_pipe()).stderr(closed_pipe()).status().unwrap();
        assert_eq!(both_closed.code(), Some(0), "{command:?}");
    }
    let refused = workbench().args(["report", "/nonexistent"]).stderr(closed_pipe()).status().unwrap();
    assert_eq!(refused.code(), Some(2));
}

#[test]
fn a_full_disk_is_an_error_of_commands_that_only_print() {
    if !Path::new("/dev/full").exists() {
        return;
    }
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let (folder, collector) = (bundle(|_| {}), Collector::start());
    for mut command in printing_commands(folder.path(), &collector) {
        let finished = run(command.stdout(full()));
        assert_eq!(finished.code(), Some(1), "{command:?}: {}", finished.stderr());
        let expected = "error: cannot write to stdout: no space left on device\n";
        assert!(finished.stderr().ends_with(expected), "{command:?}: {}", finished.stderr());
        let both_full = command.stdout(full()).stderr(full()).status().unwrap();
        assert_eq!(both_full.code(), Some(1), "{command:?}");
    }
}

#[test]
fn a_role_serves_on_when_its_log_has_no_reader() {
    let (role, address) = RoleProcess::start("frontend", |command| {
        command.stdout(closed_pipe()).stderr(closed_pipe());
    });
    // More lines than the buffers of standard output hold.
    for _ in 0..50 {
        assert!(get_blocking(&format!("http://{address}/")).is_some());
    }
    assert_eq!(role.terminate().code(), Some(0));
}

#[test]
fn a_report_shows_control_characters_as_escapes() {
    const HOSTILE: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\n  PASSED\r\u{202e}";
    let folder = bundle(|run| {
        for pointer in [
            "/target",
            "/git",
            "/requests/0/name",
            "/hops/0/service",
            "/hops/0/operation",
            "/distribution/0/instance",
            "/blame/0/shares/0/hop",
            "/findings/0/why",
            "/findings/0/request",
            "/validity/verdict",
            "/slo/0/expression",
            "/ledger/examples/0/why",
        ] {
            if let Some(text) = run.pointer_mut(pointer) {
                *text = HOSTILE.into();
            }
        }
    });
    let is_active = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    for arguments in [vec!["report"], vec!["report", "--json"]] {
        let finished = run(workbench().args(&arguments).arg(folder.path())).succeeded();
        let text = String::from_utf8(finished.stdout().to_owned()).unwrap();
        assert!(!text.contains(is_active), "{arguments:?}: {text:?}");
        assert!(!text.lines().any(|line| line.starts_with("  PASSED")), "a line is forged: {text}");
        assert!(text.contains("owned"), "{arguments:?}: {text}");
    }
}

#[test]
fn an_error_shows_control_characters_as_escapes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("\u{1b}[2J\u{9b}31m.json");
    fs::write(&file, "{}").unwrap();
    let finished = run(workbench().args(["traces", "import"]).arg(&file));
    let stderr = finished.failed(2, r"\u{1b}[2J\u{9b}31m.json").stderr();
    assert!(!stderr.contains(|c: char| c.is_control() && c != '\n'), "{stderr:?}");
}

/// The files that standard output and error of a process are connected to.
fn outputs(pid: i32) -> [String; 2] {
    ["1", "2"].map(|fd| fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap().display().to_string())
}

#[test]
fn a_log_file_is_bounded_and_standard_error_follows_it() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("frontend.log");
    let older = folder.path().join("frontend.log.1");
    let opened = File::options().create(true).append(true).open(&log).unwrap();
    let (role, address) = RoleProcess::start("frontend", |command| {
        command.env("LOG_FILE", &log).env("LOG_FILE_MAX_BYTES", "65536");
        command.stdout(opened.try_clone().unwrap()).stderr(opened).stdin(Stdio::null());
    });
    let size = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
    let (mut rotations, mut last) = (0, 0);
    // A request writes one line of some 300 bytes.
    for _ in 0..5_000 {
        assert!(get_blocking(&format!("http://{address}/")).is_some());
        let now = size(&log);
        rotations += usize::from(now < last);
        last = now;
        assert!(now + size(&older) <= 65536, "{now} and {} bytes", size(&older));
        if rotations == 3 {
            break;
        }
    }
    assert_eq!(rotations, 3);
    if Path::new("/proc/self/fd").exists() {
        let log = log.display().to_string();
        eventually("both outputs are the current file", || outputs(role.pid()) == [log.clone(), log.clone()]);
    }
    assert_eq!(role.terminate().code(), Some(0));
    let (older, newest) = (fs::read_to_string(older).unwrap(), fs::read_to_string(log).unwrap());
    for line in older.lines().chain(newest.lines()) {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
    assert!(newest.contains("\"stopped\""), "{newest}");
}
