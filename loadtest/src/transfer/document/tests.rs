use std::io::{BufReader, Read};

use super::*;

const SPAN: &str = r#"{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"x"}"#;
const UI_SPAN: &str =
    r#"{"traceID":"11","spanID":"1","operationName":"x","startTime":1,"duration":1,"processID":"p"}"#;

fn otlp() -> String {
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{SPAN}]}}]}}]}}"#)
}

fn ui(spans: usize) -> String {
    let spans = vec![UI_SPAN; spans].join(",");
    format!(r#"{{"traceID":"11","spans":[{spans}],"processes":{{"p":{{"serviceName":"s"}}}}}}"#)
}

/// Returns the number of spans of each `ResourceSpans`, 7 for each message of another signal, and 0 for each end.
fn parts(text: &str) -> Result<Vec<usize>, String> {
    let mut parts = Vec::new();
    let read = read(text.as_bytes(), &mut |part| {
        parts.push(match part {
            DocumentPart::Spans(resource_spans) => resource_spans.spans(),
            DocumentPart::OtherSignal => 7,
            DocumentPart::End => 0,
        });
        Ok(())
    });
    read.map(|()| parts).map_err(|error| error.to_string())
}

#[test]
fn detects_the_format_by_content() {
    let (line, trace) = (otlp(), ui(2));
    let pretty = line
        .replace(['{', ','], "\n $0")
        .replace("$0", "{")
        .replace("\n {\"spanId", ",\"spanId")
        .replace("\n {\"name", ",\"name");
    assert!(pretty.lines().count() > 3);
    for (text, expected) in [
        (line.clone(), vec![1, 0]),
        (format!("{line}\n{line}\n"), vec![1, 0, 1, 0]),
        (format!("\n \n{line}\r\n\n{line}"), vec![1, 0, 1, 0]),
        (pretty, vec![1, 0]),
        (format!("{{\"data\":[{trace},{trace}],\"total\":0,\"errors\":null}}"), vec![2, 0, 2, 0, 0]),
        (format!("{{\"total\":0,\n\"data\":[{trace}]}}\n"), vec![2, 0, 0]),
        (format!("[{trace}]"), vec![2, 0]),
        (format!("[\n{trace}\n]\n\n"), vec![2, 0]),
        (format!("[{}]", ui(1001)), vec![500, 500, 1, 0]),
        ("{\"resourceSpans\":[]}".to_owned(), vec![0]),
        (format!("[{line},\n{line}]"), vec![1, 0, 1, 0]),
        (format!("[{trace},{line}]"), vec![2, 0, 1, 0]),
        (format!("{{\"result\":{line}}}"), vec![1, 0, 0]),
        (format!("\u{feff}{line}\n{line}"), vec![1, 0, 1, 0]),
        (format!("\u{feff}[\n{trace}]"), vec![2, 0]),
        (
            format!("{line}\n{{\"resourceMetrics\":[{{}}]}}\n{{\"resourceLogs\":[]}}\n{line}"),
            vec![1, 0, 7, 0, 7, 0, 1, 0],
        ),
    ] {
        assert_eq!(parts(&text), Ok(expected), "{text}");
    }
}

#[test]
fn errors_name_the_line() {
    let (line, trace) = (otlp(), ui(1));
    let cut = &line[..line.len() - 9];
    let no_id = line.replace("5b8efff798038103d269b633813fc60c", "kitchen");
    for (text, expected) in [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("kitchen", "line 1: expected value"),
        ("\n7\n", "line 2: invalid type: integer `7`, expected traces"),
        ("{}", "line 1: no traces: neither"),
        ("{\"data\":null}", "line 1: invalid type: null, expected a list of traces"),
        ("{\"data\":[{}]}", "line 1: missing field `spans`"),
        (&format!("{line}\n{line}\n{cut}"), "line 3: EOF while parsing"),
        (&format!("{line}\n{cut}\n{line}\n"), "line 2: EOF while parsing"),
        (&format!("{line}\n\n{no_id}\n{line}"), "line 3: "),
        (&format!("{line}{line}\n"), "line 1: trailing characters"),
        (&format!("{line}\n[7]\n"), "line 2: invalid type: integer `7`"),
        (&format!("{{\n\"data\":\n[{trace},\n{{\"spans\":7}}]\n}}"), "line 4: invalid type: integer `7`"),
        ("[\n{\"spans\n\":7}]", "line 2: control character"),
        (
            "{\"data\":[{\"traceID\":\"11\",\"spans\":[\n{\"spanID\":\"aa\",\n\"startTime\":{}}]}]}",
            "line 3: trace 00000000000000000000000000000011, span 00000000000000aa: startTime: invalid type: map",
        ),
        (&format!("[\n{trace},\n{trace}"), "line 3: EOF while parsing a list"),
    ] {
        let said = parts(text).unwrap_err();
        assert!(said.starts_with(expected), "{text}: {said}");
    }
}

#[test]
fn keeps_spans_whose_text_is_not_unicode() {
    let (line, trace) =
        (otlp().replace(r#""x""#, r#""cut \ud83d MARK""#), ui(1).replace(r#""x""#, r#""cut \ud83d MARK""#));
    for text in [format!("{line}\n{line}\n"), format!("[\n{trace}\n]"), format!("{{\"data\":\n[{trace}]}}")] {
        let mut names = Vec::new();
        let bytes = text.replace("MARK", "\u{0}").into_bytes();
        let bytes: Vec<u8> = bytes.into_iter().map(|byte| if byte == 0 { 0xff } else { byte }).collect();
        let read = read(&*bytes, &mut |part| {
            if let DocumentPart::Spans(resource_spans) = part {
                names.push(
                    serde_json::to_value(&resource_spans)?["scopeSpans"][0]["spans"][0]["name"].clone(),
                );
            }
            Ok(())
        });
        read.unwrap();
        assert!(!names.is_empty() && names.iter().all(|name| name == "cut \u{fffd} \u{fffd}"), "{names:?}");
    }
}

#[test]
fn reads_what_other_writers_leave_out() {
    for (text, expected) in [
        ("{\"resourceSpans\":null}", vec![0]),
        ("{\"resource_spans\":[{\"scope_spans\":[{\"spans\":[{}]}]},{}]}", vec![1, 0, 0]),
        (
            include_str!("../../../../observability/collector/tests/cases/82f-empty-arrayValue.jsonl"),
            vec![1, 0],
        ),
        (
            include_str!("../../../../observability/collector/tests/cases/82o-lone-surrogate.jsonl"),
            vec![1, 0],
        ),
    ] {
        assert_eq!(parts(text), Ok(expected), "{text}");
    }
}

#[test]
fn reports_a_truncated_source() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
    for (start, expected) in [(format!("{}\n", otlp()), "after line 1"), ("[\n7".to_owned(), "after line")] {
        let text = BufReader::new(start.as_bytes().chain(Broken));
        let said = read(text, &mut |_| Ok(())).unwrap_err().to_string();
        assert!(said.contains("damaged or truncated") && said.contains(expected), "{said}");
    }
}

/// Repeats a text without holding it in memory.
struct Repeated {
    text: &'static [u8],
    left: u64,
    at: usize,
}

impl Read for Repeated {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        for (count, byte) in into.iter_mut().enumerate() {
            if self.left == 0 {
                return Ok(count);
            }
            *byte = self.text[self.at];
            self.at = (self.at + 1) % self.text.len();
            self.left -= u64::from(self.at == 0);
        }
        Ok(into.len())
    }
}

#[test]
fn rejects_a_part_that_would_take_gigabytes_of_memory() {
    let spans = Repeated { text: b"{},", left: 1 << 40, at: 0 };
    let start: &[u8] = b"{\n\"ignored\":[";
    let error = read(BufReader::new(start.chain(spans)), &mut |_| Ok(())).unwrap_err().to_string();
    assert_eq!(error, "line 2: one trace or resource takes more than 1.00 GiB of memory");
}
