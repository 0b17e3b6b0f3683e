//! The source files of the workspace's crates, tests aside.

use std::path::{Path, PathBuf};

/// Every crate that has layers, by the name of its folder's last part.
pub(crate) const CRATES: [&str; 4] = ["telemetry", "collector", "system", "loadtest"];

/// One source file.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    /// Path of the module within its crate; empty for the crate's root.
    pub(crate) module: Vec<String>,
    /// The text without line comments and without the unit tests at its end.
    pub(crate) code: String,
    /// All lines, unit tests and comments included.
    pub(crate) lines: usize,
}

pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn source_folder(name: &str) -> PathBuf {
    let nested = workspace().join("observability").join(name);
    let folder = if nested.is_dir() { nested } else { workspace().join(name) };
    folder.join("src")
}

/// The modules that a crate's root declares, in the order of its `mod` lines.
pub(crate) fn modules_in_order(name: &str) -> Vec<String> {
    let root = source_folder(name);
    let root = ["lib.rs", "main.rs"].map(|file| root.join(file)).into_iter().find(|path| path.exists());
    let text = std::fs::read_to_string(root.unwrap()).unwrap();
    let declared = |line: &str| {
        let line = line.trim_start_matches("pub(crate) ").trim_start_matches("pub ");
        Some(line.strip_prefix("mod ")?.strip_suffix(';')?.to_owned())
    };
    text.lines().filter_map(declared).collect()
}

/// The source files of a crate that are neither tests nor generated.
pub(crate) fn sources(name: &str) -> Vec<Source> {
    let root = source_folder(name);
    let is_written = |path: &PathBuf| !is_test(path) && !is_generated(path);
    rust_files(&root).into_iter().filter(is_written).map(|path| read(&root, path)).collect()
}

fn read(root: &Path, path: PathBuf) -> Source {
    let text = std::fs::read_to_string(&path).unwrap();
    let inside = path.strip_prefix(root).unwrap().with_extension("");
    let module: Vec<String> = inside.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    let is_root = matches!(module.as_slice(), [only] if only == "lib" || only == "main");
    let before_tests = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let code: Vec<&str> = before_tests.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    Source {
        path,
        module: if is_root { Vec::new() } else { module },
        code: code.join("\n"),
        lines: text.lines().count(),
    }
}

fn is_test(path: &Path) -> bool {
    path.iter().any(|part| ["tests", "tests.rs", "fixture.rs"].contains(&part.to_str().unwrap()))
}

/// Generated files are in folders of their own; a test of their crate compares them with what they are generated from.
fn is_generated(path: &Path) -> bool {
    path.iter().any(|part| part == "generated")
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
