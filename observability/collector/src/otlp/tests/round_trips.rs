//! A trace that is written in any format is equal when it is read back.

use proptest::prelude::*;

use super::*;
use crate::otlp::json_repair::RepairedJson;

/// NaN is not equal to itself, so traces are compared by their text.
macro_rules! prop_assert_same {
    ($read:expr, $written:expr) => {
        prop_assert_eq!(format!("{:?}", $read), format!("{:?}", $written))
    };
}

/// Stores a message, and returns trace 1 as stored.
fn stored(message: &bytes::Bytes) -> Trace {
    let ingest = Ingest::new(64 << 20, None);
    assert_eq!(ingest.accept(message, Transport::Http), Ok(None));
    assert_eq!(ingest.counts.repaired_strings.get() + ingest.counts.cut_parts.get(), 0);
    match ingest.store.get(TraceId(1)) {
        Lookup::Stored(trace) => trace,
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_trace_survives_protobuf_and_the_store(trace in any_trace()) {
        let message = ExportTraceServiceRequest { resource_spans: resource_spans(&trace) }.encode_to_vec();
        prop_assert_same!(stored(&message.into()), trace);
    }

    #[test]
    fn any_trace_survives_a_line_of_otlp_json(trace in any_trace()) {
        let line = to_json_line(&trace).unwrap();
        prop_assert!(!line.contains('\n'));
        prop_assert_same!(from_json_line(&line).unwrap(), trace);
        prop_assert_same!(stored(&json_to_protobuf(line.as_bytes()).unwrap().0), trace);
    }

    /// The import reads a file as a stream, and sends what it has read as JSON.
    #[test]
    fn any_trace_survives_an_import(trace in any_trace()) {
        #[derive(serde::Deserialize)]
        struct File {
            #[serde(rename = "resourceSpans")]
            resource_spans: Vec<ResourceSpans>,
        }
        let line = to_json_line(&trace).unwrap();
        let reader = RepairedJson::new(std::io::BufReader::with_capacity(7, line.as_bytes()));
        let File { resource_spans } = serde_json::from_reader(reader).unwrap();
        let sent = serde_json::json!({ "resourceSpans": resource_spans }).to_string();
        prop_assert_same!(stored(&json_to_protobuf(sent.as_bytes()).unwrap().0), trace);
    }
}
