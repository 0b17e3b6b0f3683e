//! The collector's log: its start and stop, and the first refusal of each kind.

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{Collector, JSON, SERVER, span};

/// The lines that were logged.
#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Lines {
    /// Returns the lines of the collector that contain `text`.
    fn with(&self, text: &str) -> Vec<String> {
        let lines = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        lines.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }
}

// On one thread, which is the one whose events are captured.
#[tokio::test]
async fn logs_start_stop_and_the_first_refusal_of_each_kind() {
    // With a single subscriber, `tracing` asks the thread that first reaches a line whether it is wanted, and threads of other
    // tests have none. With two, it asks the subscribers.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(lines.clone())
        .with_ansi(false)
        .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
        .finish();
    let _captured = tracing::subscriber::set_default(subscriber);
    let collector = Collector::start().await;
    collector.accept("web", json!([span(1, 1, 0, SERVER)])).await;
    for _ in 0..3 {
        assert_eq!(collector.otlp(&[JSON], "x").await.status, 400);
        assert_eq!(collector.otlp(&[JSON, ("content-encoding", "br")], "x").await.status, 415);
    }
    let logs = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [{}] }] }] });
    for service in 0..2 {
        let mut logs: Value = logs.clone();
        logs["resourceLogs"][0]["resource"] = json!({ "droppedAttributesCount": service });
        assert_eq!(collector.otlp_at("POST", "/v1/logs", &[JSON], logs.to_string()).await.status, 200);
    }
    assert_eq!(collector.get("/api/services").await.status, 200);
    let (grpc, http, query) = (collector.grpc, collector.http, collector.query);
    collector.stop().await;

    let [start] = &lines.with("collector started")[..] else { panic!("{lines:?}") };
    for part in [
        format!("otlp_grpc={grpc}"),
        format!("otlp_http={http}"),
        format!("query={query}"),
        format!("version=\"{}\"", env!("CARGO_PKG_VERSION")),
        "store_max_bytes=67108864".to_owned(),
        "max_connections=".to_owned(),
    ] {
        assert!(start.contains(&part), "{part}: {start}");
    }
    let refused = lines.with("requests refused");
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(
        refused[0].contains("reason=\"invalid\"") && refused[0].contains("peer=127.0.0.1"),
        "{refused:?}"
    );
    assert_eq!(lines.with("logs are not kept").len(), 1, "two senders");
    let queries = lines.with("GET /api/services");
    assert!(queries.len() == 1 && queries[0].contains("DEBUG"), "{queries:?}");
    let [stop] = &lines.with("collector stopped")[..] else { panic!("{lines:?}") };
    assert!(stop.contains("received_spans=1") && stop.contains("refused_requests=6"), "{stop}");
}
