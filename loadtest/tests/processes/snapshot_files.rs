//! Every snapshot file in the repository belongs to an assertion.

use std::fs;
use std::path::{Path, PathBuf};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Files whose name ends with `.snap` or `.snap.new`, outside of hidden folders and build output.
fn snapshots(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && !path.join("CACHEDIR.TAG").exists() {
                files.extend(snapshots(&path));
            }
        } else if name.ends_with(".snap") || name.ends_with(".snap.new") {
            files.push(path);
        }
    }
    files
}

/// The reason why a snapshot file is unreferenced, if it is. Its header names the source file, which must contain the
/// name of the snapshot as a string literal.
fn problem(workspace: &Path, file: &Path) -> Option<String> {
    let name = file.file_name()?.to_str()?;
    let Some(stem) = name.strip_suffix(".snap") else {
        return Some("not accepted".into());
    };
    let snapshot = stem.rsplit("__").next()?;
    let text = fs::read_to_string(file).unwrap();
    let Some(source) = text.lines().find_map(|line| line.strip_prefix("source: ")) else {
        return Some("no source".into());
    };
    let source = source.trim_matches('"');
    let Ok(code) = fs::read_to_string(workspace.join(source)) else {
        return Some(format!("{source} does not exist"));
    };
    let is_beside = workspace.join(source).parent() == file.parent().and_then(Path::parent);
    if !is_beside {
        return Some(format!("not in the folder of {source}"));
    }
    (!code.contains(&format!("\"{snapshot}\""))).then(|| format!("{source} has no \"{snapshot}\""))
}

#[test]
fn every_snapshot_file_is_referenced() {
    let workspace = workspace();
    let files = snapshots(&workspace);
    assert!(!files.is_empty());
    let problems: Vec<String> = files
        .iter()
        .filter_map(|file| Some(format!("{}: {}", file.display(), problem(&workspace, file)?)))
        .collect();
    assert!(problems.is_empty(), "delete or fix these snapshots:\n{}", problems.join("\n"));
}

#[test]
fn an_unreferenced_snapshot_file_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir_all(path("src/snapshots")).unwrap();
    fs::write(path("src/a.rs"), "assert_snapshot!(\"used\", value);").unwrap();
    let header = |source: &str| format!("---\nsource: {source}\nexpression: value\n---\n1\n");
    let problem_of = |name: &str, source: &str| {
        let file = path("src/snapshots").join(name);
        fs::write(&file, header(source)).unwrap();
        assert!(snapshots(folder.path()).contains(&file));
        problem(folder.path(), &file)
    };
    assert_eq!(problem_of("krate__a__used.snap", "src/a.rs"), None);
    for (name, source) in [
        ("krate__a__unused.snap", "src/a.rs"),
        ("krate__b__used.snap", "src/b.rs"),
        ("krate__a__used.snap.new", "src/a.rs"),
    ] {
        assert!(problem_of(name, source).is_some(), "{name}");
    }
}
