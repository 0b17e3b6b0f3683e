//! Builds OTLP requests of a size that receivers accept from the parts of a file.

use collector::otlp::ResourceSpans;

use super::document::Part;

/// Size in bytes from which a request is complete at the end of a line or trace.
const TARGET_BYTES: usize = 1 << 20;

/// Maximum size of a request in bytes. Receivers reject requests above 16 MiB, some of them earlier.
const MAX_BYTES: usize = 8 << 20;

const START: &str = r#"{"resourceSpans":["#;

/// An `ExportTraceServiceRequest` in JSON.
#[derive(Debug, PartialEq)]
pub(super) struct TraceRequest {
    pub(super) body: String,
    pub(super) spans: usize,
}

/// The request under construction.
pub(super) struct RequestBuilder {
    body: String,
    spans: usize,
}

impl Default for RequestBuilder {
    fn default() -> Self {
        Self { body: START.to_owned(), spans: 0 }
    }
}

impl RequestBuilder {
    /// Adds a part; passes each complete request to `full`.
    pub(super) fn push(
        &mut self,
        part: Part,
        full: &mut impl FnMut(TraceRequest) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        match part {
            Part::Spans(envelope) => self.envelope(envelope, full),
            Part::End if self.body.len() >= TARGET_BYTES => full(self.take()),
            Part::End => Ok(()),
        }
    }

    /// Returns the last request unless it is empty.
    pub(super) fn finish(mut self) -> Option<TraceRequest> {
        (self.body.len() > START.len()).then(|| self.take())
    }

    fn envelope(
        &mut self,
        envelope: ResourceSpans,
        full: &mut impl FnMut(TraceRequest) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let json = serde_json::to_string(&envelope)?;
        let spans = envelope.spans();
        if json.len() > MAX_BYTES && spans > 1 {
            drop(json);
            let [first, second] = envelope.halves();
            self.envelope(first, full)?;
            return self.envelope(second, full);
        }
        if self.spans > 0 && self.body.len() + json.len() > MAX_BYTES {
            full(self.take())?;
        }
        if self.body.len() > START.len() {
            self.body.push(',');
        }
        self.body.push_str(&json);
        self.spans += spans;
        Ok(())
    }

    fn take(&mut self) -> TraceRequest {
        let Self { mut body, spans } = std::mem::take(self);
        body.push_str("]}");
        TraceRequest { body, spans }
    }
}

#[cfg(test)]
mod tests {
    use collector::otlp::from_json_line;

    use super::*;

    /// Returns an envelope with `spans` spans whose names have `bytes` bytes.
    fn envelope(spans: usize, bytes: usize) -> Part {
        let name = "x".repeat(bytes);
        let span = |id| format!(r#"{{"traceId":"{:032x}","spanId":"{id:016x}","name":"{name}"}}"#, 1);
        let spans: Vec<String> = (1..=spans).map(span).collect();
        let json = format!(r#"{{"scopeSpans":[{{"spans":[{}]}}]}}"#, spans.join(","));
        Part::Spans(serde_json::from_str(&json).unwrap())
    }

    /// Returns the number of spans in each request. Every request must be valid OTLP JSON.
    fn requests(parts: Vec<Part>) -> Vec<usize> {
        let (mut batches, mut requests) = (RequestBuilder::default(), Vec::new());
        let mut full = |TraceRequest { body, spans }| {
            assert_eq!(from_json_line(&body).unwrap().spans.len(), spans);
            assert!(body.len() <= MAX_BYTES + TARGET_BYTES || spans == 1, "{}", body.len());
            requests.push(spans);
            Ok(())
        };
        for part in parts {
            batches.push(part, &mut full).unwrap();
        }
        batches.finish().map(&mut full);
        requests
    }

    #[test]
    fn combines_lines_into_one_request_up_to_the_target_size() {
        let lines =
            |count, bytes| (0..count).flat_map(move |_| [envelope(1, bytes), envelope(1, 0), Part::End]);
        assert_eq!(requests(lines(3, 10).collect()), [6]);
        assert_eq!(requests(lines(5, TARGET_BYTES / 2).collect()), [4, 4, 2]);
        assert_eq!(requests(Vec::new()), [0_usize; 0]);
    }

    #[test]
    fn splits_a_line_only_above_the_maximum_size() {
        assert_eq!(requests(vec![envelope(3, TARGET_BYTES), envelope(3, TARGET_BYTES), Part::End]), [6]);
        assert_eq!(requests(vec![envelope(5, TARGET_BYTES), envelope(5, TARGET_BYTES), Part::End]), [5, 5]);
        assert_eq!(requests(vec![envelope(10, TARGET_BYTES), Part::End]), [5, 5]);
        assert_eq!(requests(vec![envelope(1, 2 * MAX_BYTES), Part::End]), [1], "one span cannot be split");
    }
}
