//! Free space and names of bundles.

use super::*;

#[test]
fn a_file_system_without_enough_space_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    ensure_space(folder.path(), 1).unwrap();
    let error = ensure_space(folder.path(), u64::MAX).unwrap_err().to_string();
    assert!(error.contains(folder.path().to_str().unwrap()) && error.contains("--out"), "{error}");
}

#[test]
fn a_second_bundle_of_the_same_second_gets_a_number() {
    let out = tempfile::tempdir().unwrap();
    let wanted = out.path().join("20260101T000000Z-steady-1");
    let names = [(); 3].map(|()| {
        let unfinished = tempfile::tempdir_in(out.path()).unwrap().keep();
        fs::write(unfinished.join("run.json"), "{}").unwrap();
        rename_to_free(&unfinished, &wanted).unwrap().file_name().unwrap().to_owned()
    });
    assert_eq!(
        names,
        ["20260101T000000Z-steady-1", "20260101T000000Z-steady-1.2", "20260101T000000Z-steady-1.3"]
    );
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 3);
}
