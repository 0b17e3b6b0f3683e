//! Reads the JSON of a file: lines of OTLP JSON, one OTLP JSON document, a list of them, an answer of Jaeger's API, or one Jaeger
//! UI document. Reads it as a stream: memory holds at most one line, one `ResourceSpans` or one trace, and their size is
//! bounded.

mod visit;
mod metered;

use std::io::{self, BufRead, Read as _};

use collector::BYTE_ORDER_MARK;
use collector::otlp::{RepairedJson, ResourceSpans};
use serde::de::{DeserializeSeed as _, IgnoredAny};

use metered::{Meter, PartTooLarge};
use visit::Document;

use crate::bounded_input::TooLong;

/// Maximum length of a line in bytes, unless the line is the whole document.
const MAX_LINE: usize = 64 << 20;

/// One part of a file.
pub(super) enum DocumentPart {
    /// Spans.
    Spans(ResourceSpans),
    /// A message of metrics, logs or profiles.
    OtherSignal,
    /// The end of a line or of a trace.
    End,
}

/// An error while reading a file.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("line {line}: {why}")]
    Line { line: usize, why: String },
    #[error("line {0} is longer than {MAX_LINE} bytes")]
    LongLine(usize),
    #[error("line {line}: {source}")]
    PartTooLarge { line: usize, source: PartTooLarge },
    #[error("the file unpacks to {0} (raise the limit with --max-unpacked)")]
    TooLong(TooLong),
    #[error("the file is empty")]
    Empty,
    #[error("the file is damaged or truncated after line {line}: {source}")]
    Damaged { line: usize, source: io::Error },
}

/// Receives the parts. Its errors end the reading.
pub(super) type PartSink<'a> = &'a mut dyn FnMut(DocumentPart) -> anyhow::Result<()>;

/// Passes all parts of a file to `each`, in order.
pub(super) fn read(text: impl BufRead, each: PartSink<'_>) -> Result<(), ReadError> {
    let mut text = RepairedJson::new(text);
    let (mut line, mut number, mut is_first) = (Vec::new(), 0, true);
    loop {
        line.clear();
        let limited = (&mut text).take(MAX_LINE as u64).read_until(b'\n', &mut line);
        if limited.map_err(|error| unreadable(number, error))? == 0 {
            return if is_first { Err(ReadError::Empty) } else { Ok(()) };
        }
        number += 1;
        if number == 1 && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        if is_first && is_incomplete(&line) {
            return read_document(line.chain(text), number - 1, each);
        }
        if line.len() == MAX_LINE && !line.ends_with(b"\n") {
            return Err(ReadError::LongLine(number));
        }
        read_document(line.trim_ascii_end(), number - 1, each)?;
        is_first = false;
    }
}

/// Returns whether this is JSON that continues in the next line.
fn is_incomplete(line: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(line).is_err_and(|error| error.is_eof())
}

/// Reads one document that starts after `lines_before` lines, and rejects anything after it.
fn read_document(text: impl BufRead, lines_before: usize, each: PartSink<'_>) -> Result<(), ReadError> {
    let meter = Meter::default();
    let mut json = serde_json::Deserializer::from_reader(meter.reader(text));
    // A part that was passed on is no longer in memory.
    let mut metered = |part| {
        meter.reset();
        each(part)
    };
    let read = Document(&mut metered).deserialize(&mut json).and_then(|()| json.end());
    read.map_err(|error| {
        // Column 0 means that nothing of the next line has been read.
        let line = lines_before + error.line().saturating_sub(usize::from(error.column() == 0)).max(1);
        if error.is_io() {
            return unreadable(line, error.into());
        }
        let message = error.to_string();
        // serde_json counts lines from the start of the document.
        let why = message.rsplit_once(" at line ").map_or(message.as_str(), |(why, _)| why);
        ReadError::Line { line, why: why.to_owned() }
    })
}

fn unreadable(line: usize, error: io::Error) -> ReadError {
    let known = error.downcast::<PartTooLarge>().map(|source| ReadError::PartTooLarge { line, source });
    let known = known.or_else(|error| error.downcast::<TooLong>().map(ReadError::TooLong));
    known.unwrap_or_else(|source| ReadError::Damaged { line, source })
}

#[cfg(test)]
mod tests;
