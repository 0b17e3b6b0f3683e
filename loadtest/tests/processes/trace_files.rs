//! Files of traces from other programs: lists, other signals, byte-order marks, pipes that close, and files that unpack to
//! gigabytes.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Collector, Finished, run, workbench};

/// A list of two OTLP messages.
const LIST: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../observability/collector/tests/cases/82a-array-of-otlp.json");

fn import(collector: &Collector, file: &Path, options: &[&str]) -> Finished {
    let mut import = workbench();
    run(import.args(["traces", "import", "--otlp", &collector.otlp_http]).args(options).arg(file))
}

fn line(trace: u32) -> String {
    let span = json!({ "traceId": format!("{trace:032x}"), "spanId": "00000000000000a1", "name": "tick",
        "startTimeUnixNano": "1795455812000000000", "endTimeUnixNano": "1795455812000001000" });
    json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span] }] }] }).to_string()
}

#[test]
fn imports_lists_marks_and_files_with_other_signals() {
    let (folder, collector) = (TempDir::new().unwrap(), Collector::start());
    let imported = import(&collector, Path::new(LIST), &[]).succeeded();
    assert_eq!(imported.stderr(), "2 traces, 2 spans sent\n");
    let mixed = folder.path().join("mixed.jsonl");
    let lines =
        [&line(1), r#"{"resourceMetrics":[{"scopeMetrics":[]}]}"#, r#"{"resourceLogs":[{}]}"#, &line(2)];
    fs::write(&mixed, format!("\u{feff}{}", lines.join("\n"))).unwrap();
    let imported = import(&collector, &mixed, &[]).succeeded();
    let expected = "2 traces, 2 spans sent; 2 messages of metrics, logs or profiles skipped\n";
    assert_eq!(imported.stderr(), expected);
    assert!(collector.get("/api/traces/2").is_some());
}

#[test]
fn exports_one_document_of_otlp_json() {
    let (folder, collector) = (TempDir::new().unwrap(), Collector::start());
    let file = folder.path().join("lines.jsonl");
    fs::write(&file, [line(1), line(2)].join("\n")).unwrap();
    let export = |trace: &[&str]| {
        let mut export = workbench();
        export
            .args(["traces", "export", "--format", "otlp-json", "--collector", &collector.query])
            .args(trace);
        let exported = run(&mut export).succeeded();
        serde_json::from_slice::<Value>(exported.stdout()).unwrap()
    };
    assert_eq!(export(&[]), json!({ "resourceSpans": [] }), "an empty collector");
    import(&collector, &file, &[]).succeeded();
    let document = export(&[]);
    let ids: Vec<&Value> = document["resourceSpans"]
        .as_array()
        .unwrap()
        .iter()
        .map(|of_resource| &of_resource["scopeSpans"][0]["spans"][0]["traceId"])
        .collect();
    assert_eq!(ids, [&json!(format!("{:032x}", 1)), &json!(format!("{:032x}", 2))]);
}

#[test]
fn an_export_ends_quietly_when_its_reader_closes_the_pipe() {
    let (folder, collector) = (TempDir::new().unwrap(), Collector::start());
    let file = folder.path().join("lines.jsonl");
    // More than a pipe holds.
    let lines: Vec<String> = (1..=2000).map(line).collect();
    fs::write(&file, lines.join("\n")).unwrap();
    import(&collector, &file, &[]).succeeded();
    let mut export = workbench();
    export.args(["traces", "export", "--collector", &collector.query, "-"]);
    let mut child = export.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0]).unwrap();
    drop(stdout);
    let ended = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.code() == Some(0) && !stderr.contains("error"), "{stderr}");
}

/// Writes a zstd file of `copies` of 1 MiB of `filler` after `start`.
fn bomb(path: &Path, start: &str, filler: u8, copies: usize) {
    let mut encoder = zstd::Encoder::new(File::create(path).unwrap(), 3).unwrap();
    encoder.write_all(start.as_bytes()).unwrap();
    let filler = vec![filler; 1 << 20];
    (0..copies).for_each(|_| encoder.write_all(&filler).unwrap());
    encoder.finish().unwrap();
}

#[test]
fn an_import_refuses_a_file_that_unpacks_to_more_than_its_limit() {
    let (folder, collector) = (TempDir::new().unwrap(), Collector::start());
    let file = folder.path().join("bomb.zst");
    bomb(&file, &format!("{}\n", line(1)), b'\n', 100);
    assert!(fs::metadata(&file).unwrap().len() < 20_000);
    import(&collector, &file, &["--max-unpacked", "50000000"])
        .failed(2, "bomb.zst: the file unpacks to more than 47.68 MiB (raise the limit with --max-unpacked)");
    let imported = import(&collector, &file, &["--max-unpacked", "200000000"]).succeeded();
    assert_eq!(imported.stderr(), "1 trace, 1 span sent\n");
}

#[test]
fn a_collector_refuses_a_run_that_unpacks_to_more_than_its_limit() {
    let folder = TempDir::new().unwrap();
    let open = || {
        let mut serve = workbench();
        serve.args(["serve", "collector", "--open"]).arg(folder.path());
        run(serve.env("LISTEN", "127.0.0.1:0").env("COLLECTOR_STORE_MAX_BYTES", "1000000"))
    };
    bomb(&folder.path().join("collector.json.zst"), "{\"traces\":", b' ', 100);
    open().failed(2, "collector.json.zst unpacks to more than COLLECTOR_STORE_MAX_BYTES allows");
}
