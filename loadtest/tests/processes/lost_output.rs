//! Runs whose report or bundle cannot be written completely.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{Finished, Load, Stack, closed_pipe, finish, run};

const SHORT: [&str; 4] = ["--rate", "20", "--duration", "1s"];

#[test]
fn a_run_is_saved_and_judged_without_a_reader_of_its_report() {
    let stack = Stack::start_small();
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let load = || Load::of(&stack, &[&SHORT[..], &["--tutors", "2", "--students", "2"]].concat());
    for (what, stdout, stderr) in [
        ("both outputs closed", Stdio::from(closed_pipe()), Stdio::from(closed_pipe())),
        ("both outputs on a full disk", full().into(), full().into()),
        ("standard output on a full disk", full().into(), Stdio::piped()),
    ] {
        let finished = load().run_with(stdout, stderr);
        assert_eq!(finished.code(), Some(0), "{what}: {}", finished.text());
        assert_eq!(finished.run()["passed"], true, "{what}");
        if what.starts_with("standard output") {
            let stderr = finished.finished.stderr();
            assert!(
                stderr.contains("cannot write the report to stdout: no space left on device"),
                "{stderr}"
            );
        }
    }
}

/// `workbench load` through a shell that runs `before` first, writing to `out`.
fn load_after(stack: &Stack, before: &str, out: &Path, arguments: &[&str]) -> Command {
    let load = Load::of(stack, &[arguments, &["--tutors", "2", "--students", "2"]].concat());
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("{before} exec \"$@\""))
        .arg("sh")
        .arg(load.program())
        .args(load.arguments());
    command.arg("--out").arg(out).stdin(Stdio::null());
    command
}

/// Asserts that the report was printed, and that the error names the folder.
fn report_without_bundle(finished: &Finished, out: &Path) {
    let stdout = String::from_utf8_lossy(finished.stdout()).into_owned();
    let stderr = finished.stderr();
    assert_eq!(finished.code(), Some(1), "{stdout}{stderr}");
    assert!(stdout.contains("\nREQUESTS") && !stdout.contains("\nbundle:"), "{stdout}");
    let error = stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
    let expected = format!("error: the bundle was not written to the folder {}/", out.display());
    assert!(error.starts_with(&expected), "{error}");
}

#[test]
fn a_run_that_cannot_be_saved_is_reported_and_leaves_nothing_half_written() {
    let stack = Stack::start_small();
    let folder = tempfile::tempdir().unwrap();

    // The folder is removed during the run.
    let out = folder.path().join("removed");
    let mut load = load_after(&stack, "", &out, &["--rate", "20", "--duration", "8s"]);
    let mut child = load.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    // The first line of progress is written after five seconds.
    stderr.read_line(&mut String::new()).unwrap();
    fs::remove_dir_all(&out).unwrap();
    let rest = std::io::read_to_string(stderr).unwrap();
    report_without_bundle(&finish(child).with_stderr(rest), &out);
    assert!(!out.exists());

    // A file cannot grow beyond 16 KiB, as on a disk that is almost full.
    let out = folder.path().join("full");
    let mut load = load_after(&stack, "trap '' XFSZ; ulimit -f 16;", &out, &SHORT);
    report_without_bundle(&run(&mut load), &out);
    assert_eq!(fs::read_dir(&out).unwrap().count(), 0, "nothing half-written stays");
}

/// A shell that mounts a file system of 1 MiB on its first argument and runs the others; `None` where that is not permitted.
fn small_file_system(folder: &Path) -> Option<Command> {
    let mount = "mount -t tmpfs -o size=1m tmpfs \"$0\"";
    let command = |then: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]).arg(format!("{mount} && {then}"));
        command.arg(folder).stdin(Stdio::null());
        command
    };
    let permitted = command("true").output().is_ok_and(|output| output.status.success());
    permitted.then(|| command("exec \"$@\""))
}

#[test]
fn free_space_is_checked_before_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut command) = small_file_system(folder.path()) else {
        eprintln!("skipped: this user cannot mount a file system");
        return;
    };
    let stack = Stack::start_small();
    let load = Load::of(&stack, &["--tutors", "2", "--students", "2"]);
    command.arg(load.program()).args(load.arguments()).arg("--out").arg(folder.path());
    let expected = format!("the folder {} has 1 MiB of free space", folder.path().display());
    run(&mut command).failed(2, &expected);
}
