//! The help texts of the command line, as snapshots.

use crate::harness::{run, workbench};

/// Every command with a help text of its own, by the name of its snapshot.
const COMMANDS: [(&str, &str); 21] = [
    ("help", ""),
    ("help_demo", "demo"),
    ("help_health", "health"),
    ("help_load", "load"),
    ("help_report", "report"),
    ("help_restart", "restart"),
    ("help_secrets", "secrets"),
    ("help_seed", "seed"),
    ("help_serve", "serve"),
    ("help_serve_frontend", "serve frontend"),
    ("help_serve_balancer", "serve balancer"),
    ("help_serve_gateway", "serve gateway"),
    ("help_serve_cache", "serve cache"),
    ("help_serve_search", "serve search"),
    ("help_serve_booking", "serve booking"),
    ("help_serve_queue", "serve queue"),
    ("help_serve_notification", "serve notification"),
    ("help_serve_collector", "serve collector"),
    ("help_traces_export", "traces export"),
    ("help_traces_import", "traces import"),
    ("help_up", "up"),
];

/// The help text of a command. A variable that is set would appear in it, so the environment is empty.
fn help(command: &str) -> String {
    let mut workbench = workbench();
    workbench.args(command.split_whitespace()).arg("--help").env_clear();
    String::from_utf8(run(&mut workbench).succeeded().stdout().to_owned()).unwrap()
}

/// The subcommands that a help text lists.
fn subcommands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = lines.take_while(|line| !line.is_empty()).filter_map(|line| {
        let rest = line.strip_prefix("  ")?;
        (!rest.starts_with(' ')).then(|| rest.split(' ').next().unwrap_or_default().to_owned())
    });
    names.filter(|name| name != "help").collect()
}

/// Every command without subcommands, and the program itself.
fn leaves(command: &str) -> Vec<String> {
    let below = subcommands(&help(command));
    if below.is_empty() {
        return vec![command.to_owned()];
    }
    below.iter().flat_map(|name| leaves(format!("{command} {name}").trim())).collect()
}

#[test]
fn help_texts_match_the_snapshots() {
    for (name, command) in COMMANDS {
        insta::assert_snapshot!(name, help(command));
    }
}

#[test]
fn every_command_has_a_snapshot_of_its_help() {
    let leaves = leaves("");
    assert!(leaves.len() > 5, "the commands are found in the help text: {leaves:?}");
    let missing: Vec<&String> =
        leaves.iter().filter(|leaf| COMMANDS.iter().all(|(_, known)| known != leaf)).collect();
    assert!(missing.is_empty(), "add to COMMANDS: {missing:?}");
}
