//! Requests of a size that receivers take, out of the parts of a file.

use collector::otlp::ResourceSpans;

use super::document::Part;

/// A request of this many bytes is full once a line, or a trace, is at its end.
const ENOUGH: usize = 1 << 20;

/// It takes no more than this before: receivers stop at 16 MiB, and some earlier.
const MAX: usize = 8 << 20;

const START: &str = r#"{"resourceSpans":["#;

/// An `ExportTraceServiceRequest` in JSON.
#[derive(Debug, PartialEq)]
pub(super) struct TraceRequest {
    pub(super) body: String,
    pub(super) spans: usize,
}

/// The request that is being filled.
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
    /// Hands over what is full.
    pub(super) fn push(
        &mut self,
        part: Part,
        full: &mut impl FnMut(TraceRequest) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        match part {
            Part::Spans(envelope) => self.envelope(envelope, full),
            Part::End if self.body.len() >= ENOUGH => full(self.take()),
            Part::End => Ok(()),
        }
    }

    /// The last request, unless there is nothing in it.
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
        if json.len() > MAX && spans > 1 {
            drop(json);
            let [first, second] = envelope.halves();
            self.envelope(first, full)?;
            return self.envelope(second, full);
        }
        if self.spans > 0 && self.body.len() + json.len() > MAX {
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

    /// An envelope of so many spans with names of so many bytes.
    fn envelope(spans: usize, bytes: usize) -> Part {
        let name = "x".repeat(bytes);
        let span = |id| format!(r#"{{"traceId":"{:032x}","spanId":"{id:016x}","name":"{name}"}}"#, 1);
        let spans: Vec<String> = (1..=spans).map(span).collect();
        let json = format!(r#"{{"scopeSpans":[{{"spans":[{}]}}]}}"#, spans.join(","));
        Part::Spans(serde_json::from_str(&json).unwrap())
    }

    /// The spans of each request, all of which can be read.
    fn requests(parts: Vec<Part>) -> Vec<usize> {
        let (mut batches, mut requests) = (RequestBuilder::default(), Vec::new());
        let mut full = |TraceRequest { body, spans }| {
            assert_eq!(from_json_line(&body).unwrap().spans.len(), spans);
            assert!(body.len() <= MAX + ENOUGH || spans == 1, "{}", body.len());
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
    fn lines_share_a_request_until_it_is_full() {
        let lines =
            |count, bytes| (0..count).flat_map(move |_| [envelope(1, bytes), envelope(1, 0), Part::End]);
        assert_eq!(requests(lines(3, 10).collect()), [6]);
        assert_eq!(requests(lines(5, ENOUGH / 2).collect()), [4, 4, 2]);
        assert_eq!(requests(Vec::new()), [0_usize; 0]);
    }

    #[test]
    fn a_line_stays_together_unless_it_is_too_long() {
        assert_eq!(requests(vec![envelope(3, ENOUGH), envelope(3, ENOUGH), Part::End]), [6]);
        assert_eq!(requests(vec![envelope(5, ENOUGH), envelope(5, ENOUGH), Part::End]), [5, 5]);
        assert_eq!(requests(vec![envelope(10, ENOUGH), Part::End]), [5, 5]);
        assert_eq!(requests(vec![envelope(1, 2 * MAX), Part::End]), [1], "one span cannot be cut");
    }
}
