//! The map of the house, held by a test: what imports what, and how long a file may be.
#![allow(clippy::unwrap_used, reason = "a test ends where its ground gives way")]

use std::path::{Path, PathBuf};

const SERVICES: [&str; 7] = ["balancer", "gateway", "cache", "search", "booking", "queue", "notification"];

/// Lines of a file of code. Tests may be as long as what they tell.
const MAX_LINES: usize = 400;
const MEDIAN_LINES: usize = 120;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn sources() -> Vec<PathBuf> {
    ["frontend", "loadtest", "observability/collector", "observability/telemetry", "system"]
        .iter()
        .flat_map(|name| rust_files(&workspace().join(name).join("src")))
        .filter(|path| !path.ends_with("tests.rs"))
        .collect()
}

#[test]
fn services_meet_on_the_wire_alone() {
    let source = workspace().join("system/src");
    for service in SERVICES {
        let mut files = vec![source.join(format!("{service}.rs"))];
        if source.join(service).is_dir() {
            files.extend(rust_files(&source.join(service)));
        }
        for file in files.iter().filter(|path| !path.ends_with("tests.rs")) {
            let text = std::fs::read_to_string(file).unwrap();
            let others = SERVICES.iter().filter(|other| **other != service);
            for other in others {
                let imports = text.contains(&format!("crate::{other}")) || grouped_import(&text, other);
                assert!(!imports, "{} imports {other}: services meet on the wire alone", file.display());
            }
        }
    }
}

/// `use crate::{a, b};` with `name` in it.
fn grouped_import(text: &str, name: &str) -> bool {
    text.split("use crate::{").skip(1).any(|rest| {
        let group = rest.split('}').next().unwrap_or_default();
        group.split(',').any(|item| item.trim() == name)
    })
}

#[test]
fn layers_point_one_way() {
    for (crate_name, forbidden) in [
        ("observability/telemetry", ["collector", "system", "loadtest", "frontend"].as_slice()),
        ("observability/collector", ["system", "loadtest", "frontend"].as_slice()),
        ("frontend", ["system", "loadtest", "collector", "telemetry"].as_slice()),
        ("system", ["loadtest", "collector"].as_slice()),
    ] {
        let manifest = std::fs::read_to_string(workspace().join(crate_name).join("Cargo.toml")).unwrap();
        for name in forbidden {
            assert!(!manifest.contains(&format!("{name}.workspace")), "{crate_name} depends on {name}");
        }
    }
}

#[test]
fn files_are_short() {
    let mut lengths: Vec<usize> = Vec::new();
    for file in sources() {
        let lines = std::fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines; {MAX_LINES} at most", file.display());
        lengths.push(lines);
    }
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    assert!(median <= MEDIAN_LINES, "the median file has {median} lines; {MEDIAN_LINES} at most");
}

#[test]
fn only_config_reads_the_environment() {
    let allowed = workspace().join("system/src/config/env.rs");
    for file in sources().into_iter().filter(|file| *file != allowed) {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains("std::env::var"), "{} reads the environment", file.display());
    }
}
