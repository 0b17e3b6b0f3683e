//! The rules of the house, checked on the source text: which module uses which, and how long files may be.
//!
//! The order of the `mod` lines in a crate's root is the order of its layers: a module uses only modules above it in that
//! list. Among the modules of one folder no cycle is allowed. A parent and its own children may use each other.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/sources.rs"]
mod sources;

use std::collections::{BTreeMap, BTreeSet};

use imports::imports;
use sources::{CRATES, Source, modules_in_order, sources, workspace};

const ROLES: [&str; 7] = ["balancer", "gateway", "cache", "search", "booking", "queue", "notification"];

/// Lines of a source file, tests aside.
const MAX_LINES: usize = 400;
const MAX_MEDIAN_LINES: usize = 120;

#[test]
fn modules_use_only_the_layers_below_them() {
    let mut mistakes = BTreeSet::new();
    for name in CRATES {
        let order = modules_in_order(name);
        for source in sources(name) {
            let Some(user) = source.module.first() else { continue };
            let position = order.iter().position(|module| module == user);
            let position =
                position.unwrap_or_else(|| panic!("{name}: {user} is not declared in the crate's root"));
            for import in imports(&source) {
                let Some(used) = import.first().filter(|used| *used != user) else { continue };
                if order[position..].contains(used) {
                    let file = source.path.display();
                    mistakes
                        .insert(format!("{file} uses {used}, which comes after {user} in the crate's root"));
                }
            }
        }
    }
    assert!(mistakes.is_empty(), "{}", Vec::from_iter(mistakes).join("\n"));
}

#[test]
fn modules_of_one_folder_do_not_import_each_other_in_a_cycle() {
    let mut mistakes = Vec::new();
    for name in CRATES {
        let sources = sources(name);
        let is_module = |path: &[String]| sources.iter().any(|source| source.module.starts_with(path));
        // For each folder: which of its modules uses which others.
        let mut folders: BTreeMap<Vec<String>, BTreeMap<String, Vec<String>>> = BTreeMap::new();
        for source in &sources {
            for import in imports(source) {
                let shared =
                    source.module.iter().zip(&import).take_while(|(user, used)| user == used).count();
                let (Some(user), Some(used)) = (source.module.get(shared), import.get(shared)) else {
                    continue;
                };
                if is_module(&import[..=shared]) {
                    let uses = folders.entry(import[..shared].to_vec()).or_default();
                    uses.entry(user.clone()).or_default().push(used.clone());
                }
            }
        }
        for (folder, uses) in folders {
            if let Some(cycle) = cycle(&uses) {
                let place: Vec<&str> =
                    std::iter::once(name).chain(folder.iter().map(String::as_str)).collect();
                mistakes.push(format!("{}: {}", place.join("::"), cycle.join(" -> ")));
            }
        }
    }
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}

/// The first cycle among the modules of one folder, found by a depth-first walk.
fn cycle(uses: &BTreeMap<String, Vec<String>>) -> Option<Vec<String>> {
    let mut done = Vec::new();
    uses.keys().find_map(|start| {
        let mut path = vec![start.clone()];
        walk(uses, &mut path, &mut done).then_some(path)
    })
}

/// Extends `path` until a module repeats, then shortens it to the cycle.
fn walk(uses: &BTreeMap<String, Vec<String>>, path: &mut Vec<String>, done: &mut Vec<String>) -> bool {
    let last = path[path.len() - 1].clone();
    for next in uses.get(&last).into_iter().flatten() {
        if let Some(start) = path.iter().position(|module| module == next) {
            path.drain(..start);
            path.push(next.clone());
            return true;
        }
        if !done.contains(next) {
            path.push(next.clone());
            if walk(uses, path, done) {
                return true;
            }
            path.pop();
        }
    }
    done.push(last);
    false
}

#[test]
fn roles_do_not_use_each_other() {
    for source in sources("system") {
        let Some(role) = source.module.first().filter(|module| ROLES.contains(&module.as_str())) else {
            continue;
        };
        for import in imports(&source) {
            let other = import.first().filter(|used| *used != role && ROLES.contains(&used.as_str()));
            assert!(
                other.is_none(),
                "{} uses {other:?}: roles communicate over HTTP only",
                source.path.display()
            );
        }
    }
}

#[test]
fn crates_depend_in_one_direction() {
    for (folder, forbidden) in [
        ("frontend", ["system", "loadtest", "collector", "telemetry"].as_slice()),
        ("observability/telemetry", ["collector", "system", "loadtest", "frontend"].as_slice()),
        ("observability/collector", ["system", "loadtest", "frontend"].as_slice()),
        ("system", ["loadtest", "collector"].as_slice()),
    ] {
        let manifest = std::fs::read_to_string(workspace().join(folder).join("Cargo.toml")).unwrap();
        for name in forbidden {
            let depends = manifest
                .lines()
                .any(|line| line.starts_with(&format!("{name}.")) || line.starts_with(&format!("{name} =")));
            assert!(!depends, "{folder} depends on {name}");
        }
    }
}

#[test]
fn files_are_short() {
    let sources: Vec<Source> = CRATES.iter().flat_map(|name| sources(name)).collect();
    let mut lengths: Vec<usize> = sources.iter().map(|source| source.lines).collect();
    for source in &sources {
        assert!(
            source.lines <= MAX_LINES,
            "{} has {} lines, more than {MAX_LINES}",
            source.path.display(),
            source.lines
        );
    }
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    assert!(median <= MAX_MEDIAN_LINES, "the median file has {median} lines, more than {MAX_MEDIAN_LINES}");
}

#[test]
fn only_clap_reads_the_environment() {
    for source in CRATES.iter().flat_map(|name| sources(name)) {
        for read in ["env::var(", "env::var_os(", "env::vars(", "env::vars_os("] {
            assert!(
                !source.code.contains(read),
                "{} reads the environment with {read}…)",
                source.path.display()
            );
        }
    }
}
