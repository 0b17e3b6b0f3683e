//! Variables of the caller's shell that are for other programs: proxies, PostgreSQL's clients, the folder for temporary files.

use std::fs;
use std::process::Command;

use crate::harness::{Finished, Load, Stack, run, workbench};

/// A shell behind a proxy that does not exist, with variables for another PostgreSQL server.
fn hostile(command: &mut Command) {
    for variable in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env(variable, "http://127.0.0.1:1");
    }
    command.env_remove("no_proxy").env_remove("NO_PROXY");
    for (variable, value) in [
        ("PGSSLMODE", "require"),
        ("PGOPTIONS", "--nonsense=1"),
        ("PGHOST", "192.0.2.1"),
        ("PGHOSTADDR", "192.0.2.1"),
        ("PGPORT", "1"),
        ("PGUSER", "nobody"),
        ("PGPASSWORD", "wrong"),
        ("PGDATABASE", "nowhere"),
        ("PGDATA", "/nonexistent"),
        ("PGSSLROOTCERT", "/nonexistent"),
        ("PGSERVICE", "nonsense"),
    ] {
        command.env(variable, value);
    }
}

#[test]
fn a_private_stack_runs_whatever_the_shell_sets() {
    // Root's PostgreSQL runs as a user that cannot enter this folder.
    let private = tempfile::tempdir().unwrap();
    fs::set_permissions(private.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let stack = Stack::start_with(|up| {
        hostile(up);
        up.args(["--tutors", "2", "--students", "2"]).env("TMPDIR", private.path());
    });
    let inside = stack.addresses.folder.starts_with(private.path());
    assert_eq!(inside, !nix::unistd::geteuid().is_root(), "{}", stack.addresses.folder.display());

    let mut load =
        Load::of(&stack, &["--rate", "20", "--duration", "1s", "--tutors", "2", "--students", "2"]);
    load.change(hostile);
    let loaded = load.run();
    assert_eq!(loaded.code(), Some(0), "{}", loaded.text());
    assert_eq!(loaded.run()["ledger"]["complete"], loaded.run()["ledger"]["expected"], "{}", loaded.text());

    let file = private.path().join("traces.jsonl");
    let mut export = workbench();
    hostile(&mut export);
    run(export.args(["traces", "export", "--collector", &stack.addresses.collector]).arg(&file)).succeeded();
    let mut import = workbench();
    hostile(&mut import);
    run(import.args(["traces", "import", "--otlp", &stack.addresses.otlp_http]).arg(&file)).succeeded();
}

#[test]
fn a_variable_that_changes_the_connection_to_a_given_database_is_named() {
    let owner = Stack::start_small();
    let url = &owner.addresses.database_url;
    let with = |arguments: &[&str], variable: &str, value: &str| -> Finished {
        let mut command = workbench();
        command.args(arguments).env("DATABASE_URL", url).env("LISTEN", "127.0.0.1:0").env(variable, value);
        run(&mut command)
    };
    for (variable, value) in [("PGSSLMODE", "require"), ("PGOPTIONS", "--nonsense=1")] {
        for arguments in [&["up", "--free-ports"][..], &["seed"]] {
            with(arguments, variable, value).failed(2, &format!("{variable} of the environment"));
        }
    }
    // The URL overrides these.
    let seed = ["seed", "--tutors", "2", "--students", "2"];
    with(&seed, "PGHOST", "192.0.2.1").succeeded();
    with(&seed, "PGPASSWORD", "wrong").succeeded();
}

#[test]
fn a_folder_for_temporary_files_that_does_not_exist_is_named() {
    let mut up = workbench();
    up.args(["up", "--free-ports"]).env("TMPDIR", "/nonexistent");
    run(&mut up).failed(
        2,
        "cannot create a folder in /nonexistent (set another with TMPDIR): no such file or directory",
    );
}
