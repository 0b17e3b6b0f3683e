//! `workbench traces`: what one collector keeps goes into a file and into another collector, and looks the same there.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};

use crate::harness::{eventually, workbench};
use serde_json::{Value, json};
use tempfile::TempDir;

const SHOP: &str = "5b8efff798038103d269b633813fc60c";
const SHORT: &str = "00000000000000000000000000000011";

struct Collector {
    child: Child,
    query: String,
    otlp: String,
}

impl Collector {
    fn start() -> Self {
        Self::start_with("268435456")
    }

    /// With room for so many bytes.
    fn start_with(room: &str) -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let (query, otlp) = (free(), free());
        let child = workbench()
            .args(["serve", "collector"])
            .env("LISTEN", &query)
            .env("OTLP_GRPC_LISTEN", free())
            .env("OTLP_HTTP_LISTEN", &otlp)
            .env("STORE_MAX_BYTES", room)
            // Set but empty is as good as not set.
            .env("JAEGER_UI", "")
            .env("BASE_PATH", "")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let collector = Self { child, query: format!("http://{query}"), otlp: format!("http://{otlp}") };
        eventually("the collector is ready", || collector.get("/health/ready").is_some());
        collector
    }

    /// The body of a 200.
    fn get(&self, path: &str) -> Option<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let reply = reqwest::get(format!("{}{path}", self.query)).await.ok()?.error_for_status().ok()?;
            reply.text().await.ok()
        })
    }

    fn trace(&self, id: &str) -> Value {
        let shown = self.get(&format!("/api/traces/{id}")).unwrap_or_else(|| panic!("no trace {id}"));
        serde_json::from_str(&shown).unwrap()
    }

    fn export(&self, arguments: &[&str]) -> Output {
        workbench().args(["traces", "export", "--collector", &self.query]).args(arguments).output().unwrap()
    }

    fn import(&self, file: &Path) -> Output {
        import(&self.otlp, file)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn import(otlp: &str, file: &Path) -> Output {
    workbench().args(["traces", "import", "--otlp", otlp]).arg(file).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What it said, having succeeded.
fn done(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", said(output));
    said(output)
}

/// Two traces with what traces consist of, one of them across two services, the other with an old, short id.
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

/// A collector with these traces, which it got from a file of one document, written for people.
fn with_example(folder: &Path) -> Collector {
    let collector = Collector::start();
    let file = folder.join("example.json");
    fs::write(&file, serde_json::to_string_pretty(&example()).unwrap()).unwrap();
    assert_eq!(done(&collector.import(&file)), "2 traces, 3 spans sent\n");
    collector
}

fn names(folder: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

#[test]
fn a_collector_that_gets_the_traces_of_another_from_a_file_shows_them_the_same() {
    let folder = TempDir::new().unwrap();
    let first = with_example(folder.path());
    let (shop, short) = (first.trace(SHOP), first.trace(SHORT));
    for (name, format) in
        [("all.jsonl", "otlp"), ("all.jsonl.zst", "otlp"), ("all.json", "jaeger"), ("all.json.zst", "jaeger")]
    {
        let file = folder.path().join(name);
        fs::write(&file, "what was there before").unwrap();
        let told = done(&first.export(&["--format", format, file.to_str().unwrap()]));
        assert!(told.starts_with("2 traces, 3 spans, ") && told.ends_with("written\n"), "{told}");
        let is_packed = fs::read(&file).unwrap().starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
        assert_eq!(is_packed, name.ends_with(".zst"));
        // Its name says nothing to the reader.
        let renamed = folder.path().join("renamed");
        fs::rename(file, &renamed).unwrap();
        let second = Collector::start();
        assert_eq!(done(&second.import(&renamed)), "2 traces, 3 spans sent\n", "{name}");
        assert_eq!((second.trace(SHOP), second.trace(SHORT)), (shop.clone(), short.clone()), "{name}");
    }
}

#[test]
fn one_trace_goes_alone_and_stdout_gets_it_as_a_file_would() {
    let folder = TempDir::new().unwrap();
    let first = with_example(folder.path());
    let jaeger = first.export(&["--trace", "11", "--trace", SHORT, "--format", "jaeger"]);
    assert!(done(&jaeger).starts_with("1 trace, 1 span, "), "named twice, written once");
    for (id, exported) in [(SHORT, jaeger), (SHOP, first.export(&["--trace", SHOP, "--format", "jaeger"]))] {
        let shown: Value = serde_json::from_slice(&exported.stdout).unwrap();
        assert_eq!(shown, first.trace(id), "as /api/traces has it");
    }

    let line = first.export(&["--trace", SHOP, "-"]).stdout;
    let text = String::from_utf8(line.clone()).unwrap();
    assert!(text.starts_with("{\"resourceSpans\":[") && text.lines().count() == 1, "{text}");
    let second = Collector::start();
    // By way of gzip and stdin, as a shell would.
    let mut pack = std::process::Command::new("gzip")
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    pack.stdin.take().unwrap().write_all(&line).unwrap();
    let mut import = workbench();
    import.args(["traces", "import", "--otlp", &second.otlp, "-"]).stdin(pack.stdout.take().unwrap());
    assert_eq!(done(&import.output().unwrap()), "1 trace, 2 spans sent\n");
    assert!(pack.wait().unwrap().success());
    assert_eq!(second.trace(SHOP), first.trace(SHOP));
    assert_eq!(second.get(&format!("/api/traces/{SHORT}")), None);
}

#[test]
fn a_trace_that_is_not_there_is_named_and_no_file_is_left() {
    let folder = TempDir::new().unwrap();
    let collector = with_example(folder.path());
    let file = folder.path().join("some.jsonl");
    let before = names(folder.path());
    let missing = collector.export(&["--trace", SHOP, "--trace", "abc", file.to_str().unwrap()]);
    assert_eq!(missing.status.code(), Some(1));
    let expected = "error: trace 00000000000000000000000000000abc is not there: no span of it came; nothing was written\n";
    assert_eq!(said(&missing), expected);
    assert_eq!(names(folder.path()), before);

    let to_stdout = collector.export(&["--trace", SHOP, "--trace", "abc", "--format", "jaeger"]);
    assert_eq!((to_stdout.status.code(), to_stdout.stdout.len()), (Some(1), 0));
}

#[test]
fn a_trace_that_had_to_make_room_is_said_to_be_evicted() {
    let folder = TempDir::new().unwrap();
    let collector = Collector::start_with("300000");
    let mut message = example();
    let spans = &mut message["resourceSpans"][2]["scopeSpans"][0]["spans"];
    let mut one = spans[0].clone();
    *spans = (1..=2000_u32)
        .map(|id| {
            one["traceId"] = json!(format!("{id:032x}"));
            one["name"] = json!(format!("{id:0400}"));
            one.clone()
        })
        .collect();
    let file = folder.path().join("many.json");
    fs::write(&file, message.to_string()).unwrap();
    assert_eq!(done(&collector.import(&file)), "2,001 traces, 2,002 spans sent\n");
    let shown = |id: &u32| collector.get(&format!("/api/traces/{id:x}")).is_some();
    let gone = format!("{:032x}", (1..=2000).find(|id| !shown(id)).expect("there is no room for all"));
    let refused = collector.export(&["--trace", &gone]);
    let expected = format!("error: trace {gone} was evicted: the store let it go to make room: ");
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).starts_with(&expected), "{}", said(&refused));
}

#[test]
fn files_that_are_no_traces_are_refused_and_nothing_of_them_is_sent() {
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
        (write("cut.zst", &packed[..packed.len() - 3]), "cut.zst: it is damaged or cut off behind line 0"),
        (write("metrics.json", b"{\"resourceMetrics\":[]}"), "metrics.json: line 1: no traces"),
        (write("picture.png", b"\x89PNG\r\n"), "picture.png: line 1: expected value"),
        (write("empty", b""), "empty: it is empty"),
        (write("none", br#"{"data":[]}"#), "none: there is no span in it"),
        (write("ui.json", jaeger.as_bytes()), "ui.json: line 2: an id is 1 to 32 hexadecimal digits"),
        (folder.path().join("nowhere"), "nowhere: No such file"),
    ];
    let sound = write("sound.jsonl", line.as_bytes());
    for (file, expected) in files {
        let refused = workbench()
            .args(["traces", "import", "--otlp", &collector.otlp])
            .arg(&sound)
            .arg(&file)
            .output()
            .unwrap();
        assert_eq!(refused.status.code(), Some(2), "{expected}: {}", said(&refused));
        assert!(
            said(&refused).starts_with("error: ") && said(&refused).contains(expected),
            "{}",
            said(&refused)
        );
    }
    assert_eq!(collector.get("/api/services").unwrap().matches("shop").count(), 0, "nothing was sent");
}

#[test]
fn what_is_wrong_with_the_command_is_named() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, serde_json::to_string(&example()).unwrap()).unwrap();
    let (file, nowhere) = (file.to_str().unwrap(), "http://127.0.0.1:9");
    for (arguments, named) in [
        (vec!["export", "--collector", nowhere], "no collector at http://127.0.0.1:9"),
        (vec!["export", "--collector", "nonsense"], "no collector at nonsense"),
        (vec!["export", "--trace", "zz"], "hexadecimal"),
        (vec!["export", "/dev/null"], "/dev/null is not a file; - writes to stdout"),
        (vec!["export", "/nonexistent/file"], "cannot write /nonexistent/file"),
        (vec!["import", "--otlp", nowhere, file], "nobody takes OTLP at http://127.0.0.1:9/v1/traces"),
        (vec!["import"], "<FILE>..."),
    ] {
        let output = workbench().arg("traces").args(&arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(named), "{arguments:?}: {}", said(&output));
    }
}

#[test]
fn rejected_spans_are_counted_and_told() {
    let (folder, collector) = (TempDir::new().unwrap(), Collector::start());
    let mut message = example();
    message["resourceSpans"][1]["scopeSpans"][0]["spans"][0]["spanId"] = json!("");
    let file = folder.path().join("file");
    fs::write(&file, message.to_string()).unwrap();
    let output = collector.import(&file);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).starts_with("of 2 traces 2 spans sent, 1 rejected: "), "{}", said(&output));
    assert!(said(&output).contains("an id has the wrong length"), "{}", said(&output));
}

/// Answers each request with the next of `replies`, and returns the bodies.
fn receiver(replies: &'static [&'static str]) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = move || replies.iter().map(|reply| answered(&listener.accept().unwrap().0, reply)).collect();
    (url, std::thread::spawn(answer))
}

fn answered(mut stream: &TcpStream, reply: &str) -> String {
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
fn a_receiver_without_room_is_asked_again_when_it_says_so() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, example().to_string()).unwrap();
    let (url, answering) = receiver(&[
        "503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "429 Too Many Requests\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
    ]);
    let start = std::time::Instant::now();
    assert_eq!(done(&import(&url, &file)), "2 traces, 3 spans sent\n");
    assert!(start.elapsed() >= std::time::Duration::from_secs(1), "not before the second is over");
    let bodies = answering.join().unwrap();
    assert!(bodies.iter().all(|body| *body == bodies[0] && body.contains(SHOP)), "{bodies:?}");
}

#[test]
fn a_receiver_that_rejects_more_than_it_was_sent_ends_no_import_with_a_panic() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, example().to_string()).unwrap();
    let (url, answering) = receiver(&[
        "200 OK\r\nContent-Length: 60\r\nConnection: close\r\n\r\n{\"partialSuccess\":{\"rejectedSpans\":\"5\",\"errorMessage\":\"no\"}}",
    ]);
    let output = import(&url, &file);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert_eq!(said(&output), "of 2 traces 0 spans sent, 5 rejected: no\n");
    answering.join().unwrap();
}

#[test]
fn a_receiver_that_does_not_take_the_spans_fails_the_import() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, example().to_string()).unwrap();
    for (reply, expected) in [
        (
            "503 Busy\r\nRetry-After: 61\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "has no room: it answers 503",
        ),
        ("400 Bad\r\nContent-Length: 4\r\nConnection: close\r\n\r\nwhy?", "answers 400 Bad Request: why?"),
        (
            "200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>",
            "does not answer as OTLP/HTTP does",
        ),
    ] {
        let (url, answering) = receiver(Vec::leak(vec![reply]));
        let output = import(&url, &file);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains("0 of 3 spans had been taken"), "{}", said(&output));
        assert!(said(&output).contains(expected), "{}", said(&output));
        answering.join().unwrap();
    }
}
