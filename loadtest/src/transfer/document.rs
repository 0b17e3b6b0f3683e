//! The JSON of a file: lines of OTLP JSON, one document of it, or one of Jaeger's UI. Read as a stream: nothing that is
//! larger than a line, an envelope or a trace is ever held.

mod visit;

use std::io::{self, BufRead, Read as _};

use collector::otlp::ResourceSpans;
use serde::de::{DeserializeSeed as _, IgnoredAny};

use visit::Document;

/// A longer line is read only if it is the whole document.
const MAX_LINE: usize = 256 << 20;

/// What files consist of.
pub(super) enum Part {
    /// Spans.
    Spans(ResourceSpans),
    /// The end of a line, or of a trace: what came before belongs together.
    End,
}

/// Where a file is not what it should be.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("line {line}: {why}")]
    Line { line: usize, why: String },
    #[error("line {0} is longer than {MAX_LINE} bytes")]
    LongLine(usize),
    #[error("it is empty")]
    Empty,
    #[error("it is damaged or cut off behind line {line}: {source}")]
    Damaged { line: usize, source: io::Error },
}

/// Takes the parts. Its errors are those of the file too.
pub(super) type PartSink<'a> = &'a mut dyn FnMut(Part) -> anyhow::Result<()>;

/// Hands over all parts of a file in their order.
pub(super) fn read(mut text: impl BufRead, each: PartSink<'_>) -> Result<(), ReadError> {
    let (mut line, mut number, mut is_first) = (Vec::new(), 0, true);
    loop {
        line.clear();
        let limited = (&mut text).take(MAX_LINE as u64).read_until(b'\n', &mut line);
        if limited.map_err(|source| ReadError::Damaged { line: number, source })? == 0 {
            return if is_first { Err(ReadError::Empty) } else { Ok(()) };
        }
        number += 1;
        if line.trim_ascii().is_empty() {
            continue;
        }
        if is_first && is_a_beginning(&line) {
            return one(line.chain(text), number - 1, each);
        }
        if line.len() == MAX_LINE && !line.ends_with(b"\n") {
            return Err(ReadError::LongLine(number));
        }
        one(line.trim_ascii_end(), number - 1, each)?;
        is_first = false;
    }
}

/// Whether this is JSON that goes on in the next line.
fn is_a_beginning(line: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(line).is_err_and(|error| error.is_eof())
}

/// One document, which begins behind so many lines, and nothing else.
fn one(text: impl BufRead, lines_before: usize, each: PartSink<'_>) -> Result<(), ReadError> {
    let mut json = serde_json::Deserializer::from_reader(text);
    let read = Document(each).deserialize(&mut json).and_then(|()| json.end());
    read.map_err(|error| {
        // Behind an end of line nothing has been read of the next one.
        let line = lines_before + error.line().saturating_sub(usize::from(error.column() == 0)).max(1);
        if error.is_io() {
            return ReadError::Damaged { line, source: error.into() };
        }
        let said = error.to_string();
        // It counts from where the document begins.
        let why = said.rsplit_once(" at line ").map_or(said.as_str(), |(why, _)| why);
        ReadError::Line { line, why: why.to_owned() }
    })
}

#[cfg(test)]
mod tests;
