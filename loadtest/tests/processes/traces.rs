//! `workbench traces`: exports the traces of one collector to a file and imports them into another, unchanged.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Collector, Finished, run, workbench};

/// Exports from a collector.
fn export(collector: &Collector, arguments: &[&str]) -> Finished {
    run(workbench().args(["traces", "export", "--collector", &collector.query]).args(arguments))
}

/// Imports a file into an OTLP/HTTP receiver.
fn import(otlp: &str, file: &Path) -> Finished {
    run(workbench().args(["traces", "import", "--otlp", otlp]).arg(file))
}

/// Asserts success and returns the message.
fn message(finished: Finished) -> String {
    finished.succeeded().stderr()
}

const SHOP: &str = "5b8efff798038103d269b633813fc60c";
const SHORT: &str = "00000000000000000000000000000011";

/// Two traces with every kind of field: one of two services, and one with a 64-bit id.
fn example() -> Value {
    let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    let of = |service: &str, spans: Value| {
        json!({ "resource": { "attributes": [text("service.name", service), text("host.name", "h1")] },
            "scopeSpans": [{ "scope": { "name": "lib", "version": "1.0" }, "spans": spans }] })
    };
    let sent = json!({ "traceId": SHOP, "spanId": "00000000000000a1", "name": "POST /book", "kind": 2,
        "startTimeUnixNano": "1795455811000000000", "endTimeUnixNano": "1795455811005000000",
        "traceState": "vendor=1", "attributes": [text("http.method", "POST"),
            { "key": "n", "value": { "intValue": "9007199254740993" } },
            { "key": "share", "value": { "doubleValue": 0.5 } },
            { "key": "raw", "value": { "bytesValue": "AP8H" } },
            { "key": "list", "value": { "arrayValue": { "values": [{ "boolValue": true }] } } }],
        "status": { "code": 2, "message": "boom" },
        "events": [{ "timeUnixNano": "1795455811001000000", "name": "exception", "attributes": [text("a", "b")] }] });
    let received = json!({ "traceId": SHOP, "spanId": "00000000000000a2", "parentSpanId": "00000000000000a1",
        "name": "process", "kind": 5,
        "startTimeUnixNano": "1795455811000500000", "endTimeUnixNano": "1795455811004500000",
        "links": [{ "traceId": SHOP, "spanId": "00000000000000a1" }, { "traceId": SHORT, "spanId": "00000000000000b1" }] });
    let old = json!({ "traceId": SHORT, "spanId": "00000000000000b1", "name": "tick", "kind": 1,
        "startTimeUnixNano": "1795455812000000000", "endTimeUnixNano": "1795455812000001000" });
    json!({ "resourceSpans": [of("shop", json!([sent])), of("mail", json!([received])), of("clock", json!([old]))] })
}

/// A collector that has imported [`example`] from an indented JSON document.
fn with_example(folder: &Path) -> Collector {
    let collector = Collector::start_with(|serve| {
        // An empty variable counts as unset.
        serve.env("COLLECTOR_JAEGER_UI", "").env("COLLECTOR_BASE_PATH", "");
    });
    let file = folder.join("example.json");
    fs::write(&file, serde_json::to_string_pretty(&example()).unwrap()).unwrap();
    assert_eq!(message(import(&collector.otlp_http, &file)), "2 traces, 3 spans sent\n");
    collector
}

/// The names of the files in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

#[test]
fn export_and_import_preserve_traces() {
    let folder = TempDir::new().unwrap();
    let first = with_example(folder.path());
    let (shop, short) = (first.trace(SHOP), first.trace(SHORT));
    for (name, format) in [
        ("all.jsonl", "otlp"),
        ("all.jsonl.zst", "otlp-jsonl"),
        ("otlp.json", "otlp-json"),
        ("all.json", "jaeger"),
        ("all.json.zst", "jaeger"),
    ] {
        let file = folder.path().join(name);
        fs::write(&file, "previous content").unwrap();
        let written = message(export(&first, &["--format", format, file.to_str().unwrap()]));
        assert!(written.starts_with("2 traces, 3 spans, ") && written.ends_with("written\n"), "{written}");
        let is_compressed = fs::read(&file).unwrap().starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
        assert_eq!(is_compressed, name.ends_with(".zst"));
        // Import recognises the format by the content, not by the name.
        let renamed = folder.path().join("renamed");
        fs::rename(file, &renamed).unwrap();
        let second = Collector::start();
        assert_eq!(message(import(&second.otlp_http, &renamed)), "2 traces, 3 spans sent\n", "{name}");
        assert_eq!((second.trace(SHOP), second.trace(SHORT)), (shop.clone(), short.clone()), "{name}");
    }
}

#[test]
fn exports_a_single_trace_to_stdout() {
    let folder = TempDir::new().unwrap();
    let first = with_example(folder.path());
    let jaeger = export(&first, &["--trace", "11", "--trace", SHORT, "--format", "jaeger"]);
    assert!(
        jaeger.stderr().starts_with("1 trace, 1 span, "),
        "requested twice, written once: {}",
        jaeger.stderr()
    );
    for (id, exported) in [(SHORT, jaeger), (SHOP, export(&first, &["--trace", SHOP, "--format", "jaeger"]))]
    {
        let written: Value = serde_json::from_slice(exported.succeeded().stdout()).unwrap();
        assert_eq!(written, first.trace(id), "the same JSON as /api/traces/{id}");
    }

    let exported = export(&first, &["--trace", SHOP, "-"]);
    let text = String::from_utf8(exported.stdout().to_owned()).unwrap();
    assert!(text.starts_with("{\"resourceSpans\":[") && text.lines().count() == 1, "{text}");
    let second = Collector::start();
    // A pipeline through gzip to stdin.
    let mut gzip =
        Command::new("gzip").arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    gzip.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let mut import = workbench();
    import.args(["traces", "import", "--otlp", &second.otlp_http, "-"]).stdin(gzip.stdout.take().unwrap());
    assert_eq!(message(run(&mut import)), "1 trace, 2 spans sent\n");
    assert!(gzip.wait().unwrap().success());
    assert_eq!(second.trace(SHOP), first.trace(SHOP));
    assert_eq!(second.get(&format!("/api/traces/{SHORT}")), None);
}

#[test]
fn missing_trace_is_reported_and_no_file_is_written() {
    let folder = TempDir::new().unwrap();
    let collector = with_example(folder.path());
    let file = folder.path().join("some.jsonl");
    let before = names(folder.path());
    let missing = export(&collector, &["--trace", SHOP, "--trace", "abc", file.to_str().unwrap()]);
    assert_eq!(missing.code(), Some(1));
    let expected = "error: trace 00000000000000000000000000000abc was not found: no span was received; nothing was written\n";
    assert_eq!(missing.stderr(), expected);
    assert_eq!(names(folder.path()), before);

    let to_stdout = export(&collector, &["--trace", SHOP, "--trace", "abc", "--format", "jaeger"]);
    assert_eq!((to_stdout.code(), to_stdout.stdout().len()), (Some(1), 0));
}

#[test]
fn evicted_trace_is_reported_as_evicted() {
    let folder = TempDir::new().unwrap();
    let collector = Collector::start_with(|serve| {
        serve.env("COLLECTOR_STORE_MAX_BYTES", "300000");
    });
    let mut request = example();
    let spans = &mut request["resourceSpans"][2]["scopeSpans"][0]["spans"];
    let mut one = spans[0].clone();
    *spans = (1..=2000_u32)
        .map(|id| {
            one["traceId"] = json!(format!("{id:032x}"));
            one["name"] = json!(format!("{id:0400}"));
            one.clone()
        })
        .collect();
    let file = folder.path().join("many.json");
    fs::write(&file, request.to_string()).unwrap();
    assert_eq!(message(import(&collector.otlp_http, &file)), "2,001 traces, 2,002 spans sent\n");
    let is_stored = |id: &u32| collector.get(&format!("/api/traces/{id:x}")).is_some();
    let gone = format!("{:032x}", (1..=2000).find(|id| !is_stored(id)).expect("a trace was evicted"));
    export(&collector, &["--trace", &gone])
        .failed(1, &format!("trace {gone} was evicted: removed to free space: "));
}

#[test]
fn rejects_files_without_traces_and_sends_nothing() {
    let folder = TempDir::new().unwrap();
    let collector = Collector::start();
    let line = serde_json::to_string(&example()).unwrap();
    let packed = zstd::encode_all(line.as_bytes(), 3).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let file = folder.path().join(name);
        fs::write(&file, bytes).unwrap();
        file
    };
    let cut = format!("{line}\n{}\n{line}\n", &line[..line.len() / 2]);
    let jaeger = "{\"data\":[{\"traceID\":\"1\",\n\"spans\":[{\"traceID\":\"zz\"}]}]}";
    let files: [(PathBuf, &str); 8] = [
        (write("cut.jsonl", cut.as_bytes()), "cut.jsonl: line 2: EOF while parsing"),
        (
            write("cut.zst", &packed[..packed.len() - 3]),
            "cut.zst: the file is damaged or truncated after line 0",
        ),
        (
            write("metrics.json", b"{\"resourceMetrics\":[]}"),
            "metrics.json: only metrics, logs or profiles, no spans",
        ),
        (write("picture.png", b"\x89PNG\r\n"), "picture.png: line 1: expected value"),
        (write("empty", b""), "empty: the file is empty"),
        (write("none", br#"{"data":[]}"#), "none: the file has no spans"),
        (
            write("ui.json", jaeger.as_bytes()),
            "ui.json: line 2: trace 00000000000000000000000000000001, span number 1: traceID: \"zz\": id must be 1 to 32",
        ),
        (folder.path().join("nowhere"), "nowhere: no such file"),
    ];
    let valid = write("valid.jsonl", line.as_bytes());
    for (file, expected) in files {
        let mut import = workbench();
        import.args(["traces", "import", "--otlp", &collector.otlp_http]).arg(&valid).arg(&file);
        run(&mut import).failed(2, expected);
    }
    assert_eq!(collector.get("/api/services").unwrap().matches("shop").count(), 0, "nothing was sent");
}

#[test]
fn rejects_invalid_arguments() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, serde_json::to_string(&example()).unwrap()).unwrap();
    let (file, nowhere) = (file.to_str().unwrap(), "http://127.0.0.1:9");
    for (arguments, message) in [
        (vec!["export", "--collector", nowhere], "no collector at http://127.0.0.1:9"),
        (vec!["export", "--collector", "nonsense"], "no collector at http://nonsense"),
        (vec!["export", "--trace", "zz"], "hexadecimal"),
        (vec!["export", "/dev/null"], "/dev/null is not a regular file (- writes to stdout)"),
        (vec!["export", "/nonexistent/file"], "cannot write /nonexistent/file"),
        (vec!["import", "--otlp", nowhere, file], "no OTLP receiver at http://127.0.0.1:9/v1/traces"),
        (vec!["import"], "<FILE>..."),
    ] {
        run(workbench().arg("traces").args(&arguments)).failed(2, message);
    }
}

#[test]
fn counts_rejected_spans() {
    let (folder, collector) = (TempDir::new().unwrap(), Collector::start());
    let mut request = example();
    request["resourceSpans"][1]["scopeSpans"][0]["spans"][0]["spanId"] = json!("");
    let file = folder.path().join("file");
    fs::write(&file, request.to_string()).unwrap();
    let imported = import(&collector.otlp_http, &file);
    let message = imported.stderr();
    assert_eq!(imported.code(), Some(1), "{message}");
    assert!(message.starts_with("2 traces, 2 spans sent, 1 rejected: "), "{message}");
    assert!(message.contains("id has the wrong length"), "{message}");
}

/// A receiver that answers each request with the next of `replies`; the thread returns the request bodies.
fn receiver(replies: &'static [&'static str]) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = move || replies.iter().map(|reply| receive(&listener.accept().unwrap().0, reply)).collect();
    (url, std::thread::spawn(answer))
}

/// Reads one request, writes the reply and returns the request body.
fn receive(mut stream: &TcpStream, reply: &str) -> String {
    let (mut reader, mut length, mut line) = (BufReader::new(stream), 0, String::new());
    while reader.read_line(&mut line).unwrap() > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    write!(stream, "HTTP/1.1 {reply}").unwrap();
    String::from_utf8(body).unwrap()
}

#[test]
fn retries_while_the_receiver_is_busy() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, example().to_string()).unwrap();
    let (url, answering) = receiver(&[
        "503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "429 Too Many Requests\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
    ]);
    let start = Instant::now();
    assert_eq!(message(import(&url, &file)), "2 traces, 3 spans sent\n");
    assert!(start.elapsed() >= Duration::from_secs(1), "the retry waits for Retry-After");
    let bodies = answering.join().unwrap();
    assert!(bodies.iter().all(|body| *body == bodies[0] && body.contains(SHOP)), "{bodies:?}");
}

#[test]
fn accepts_a_rejected_count_above_the_spans_sent() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, example().to_string()).unwrap();
    let (url, answering) = receiver(&[
        "200 OK\r\nContent-Length: 60\r\nConnection: close\r\n\r\n{\"partialSuccess\":{\"rejectedSpans\":\"5\",\"errorMessage\":\"no\"}}",
    ]);
    let imported = import(&url, &file);
    assert_eq!(imported.stderr(), "2 traces, 0 spans sent, 5 rejected: no\n");
    assert_eq!(imported.code(), Some(1));
    answering.join().unwrap();
}

#[test]
fn import_fails_when_the_receiver_refuses() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, example().to_string()).unwrap();
    for (reply, expected) in [
        (
            "503 Busy\r\nRetry-After: 61\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "is busy: status 503",
        ),
        ("400 Bad\r\nContent-Length: 4\r\nConnection: close\r\n\r\nwhy?", "returned 400 Bad Request: why?"),
        ("200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>", "is not an OTLP/HTTP receiver"),
    ] {
        let (url, answering) = receiver(Vec::leak(vec![reply]));
        import(&url, &file).failed(1, "0 of 3 spans were accepted").failed(1, expected);
        answering.join().unwrap();
    }
}
