//! Builds OTLP requests of a size that receivers accept from the parts of a file.

use collector::otlp::ResourceSpans;

use super::document::DocumentPart;

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
        part: DocumentPart,
        full: &mut impl FnMut(TraceRequest) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        match part {
            DocumentPart::Spans(resource_spans) => self.resource_spans(resource_spans, full),
            DocumentPart::End if self.body.len() >= TARGET_BYTES => full(self.take()),
            DocumentPart::End | DocumentPart::OtherSignal => Ok(()),
        }
    }

    /// Returns the last request unless it is empty.
    pub(super) fn finish(mut self) -> Option<TraceRequest> {
        (self.body.len() > START.len()).then(|| self.take())
    }

    fn resource_spans(
        &mut self,
        resource_spans: ResourceSpans,
        full: &mut impl FnMut(TraceRequest) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let json = serde_json::to_string(&resource_spans)?;
        let spans = resource_spans.spans();
        if json.len() > MAX_BYTES && spans > 1 {
            drop(json);
            let [first, second] = resource_spans.halves();
            self.resource_spans(first, full)?;
            return self.resource_spans(second, full);
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

    const END: DocumentPart = DocumentPart::End;

    /// Returns a part with `spans` spans whose names have `bytes` bytes.
    fn part(spans: usize, bytes: usize) -> DocumentPart {
        let name = "x".repeat(bytes);
        let span = |id| format!(r#"{{"traceId":"{:032x}","spanId":"{id:016x}","name":"{name}"}}"#, 1);
        let spans: Vec<String> = (1..=spans).map(span).collect();
        let json = format!(r#"{{"scopeSpans":[{{"spans":[{}]}}]}}"#, spans.join(","));
        DocumentPart::Spans(serde_json::from_str(&json).unwrap())
    }

    /// Returns the number of spans in each request. Every request must be valid OTLP JSON.
    fn requests(parts: Vec<DocumentPart>) -> Vec<usize> {
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
        let lines = |count, bytes| (0..count).flat_map(move |_| [part(1, bytes), part(1, 0), END]);
        assert_eq!(requests(lines(3, 10).collect()), [6]);
        assert_eq!(requests(lines(5, TARGET_BYTES / 2).collect()), [4, 4, 2]);
        assert_eq!(requests(Vec::new()), [0_usize; 0]);
    }

    #[test]
    fn splits_a_line_only_above_the_maximum_size() {
        assert_eq!(requests(vec![part(3, TARGET_BYTES), part(3, TARGET_BYTES), END]), [6]);
        assert_eq!(requests(vec![part(5, TARGET_BYTES), part(5, TARGET_BYTES), END]), [5, 5]);
        assert_eq!(requests(vec![part(10, TARGET_BYTES), END]), [5, 5]);
        assert_eq!(requests(vec![part(1, 2 * MAX_BYTES), END]), [1], "one span cannot be split");
    }
}
