//! Traces as chunks of a stream.

use bytes::BytesMut;
use prost::Message;
use prost::encoding::message;

use crate::otlp::resource_spans;
use crate::query::jaeger::error::ApiError;
use crate::query::jaeger::group;
use crate::query::jaeger::model::protobuf;
use crate::query::jaeger::protocol::Chunk;
use crate::query::streaming::{ChunkWriter, QueryError};
use crate::trace::Trace;

/// Size above which a trace is divided. Clients accept messages of up to 4 MiB by default; a longer span is sent as it is.
const MAX_CHUNK: usize = 1 << 20;

/// The model in which traces are sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Model {
    Otlp,
    Jaeger,
}

/// Writes elements as lists of up to [`MAX_CHUNK`].
#[derive(Debug)]
pub(super) struct ListWriter<'a> {
    chunks: &'a mut ChunkWriter,
    list: BytesMut,
}

impl<'a> ListWriter<'a> {
    pub(super) fn new(chunks: &'a mut ChunkWriter) -> Self {
        Self { chunks, list: BytesMut::new() }
    }

    pub(super) fn push(&mut self, element: &impl Message) -> Result<(), QueryError> {
        let length = message::encoded_len(Chunk::ELEMENT, element);
        if self.list.len() + length > MAX_CHUNK {
            self.end_list()?;
        }
        self.list.reserve(length);
        message::encode(Chunk::ELEMENT, element, &mut self.list);
        Ok(())
    }

    /// Sends the list unless it is empty.
    pub(super) fn end_list(&mut self) -> Result<(), QueryError> {
        if self.list.is_empty() { Ok(()) } else { Ok(self.chunks.push(self.list.split().freeze())?) }
    }
}

/// Writes traces in the given model.
pub(super) fn write_traces(
    traces: impl Iterator<Item = Trace>,
    model: Model,
    chunks: &mut ChunkWriter,
) -> Result<(), ApiError> {
    let mut lists = ListWriter::new(chunks);
    for trace in traces {
        match model {
            Model::Otlp => write_otlp(group::by_resource(trace), &mut lists)?,
            Model::Jaeger => {
                protobuf::spans(&trace).try_for_each(|span| lists.push(&span))?;
                lists.end_list()?;
            }
        }
    }
    Ok(())
}

/// Writes a trace as OTLP. If it is long, its spans are divided, and the parts repeat their resources and scopes.
fn write_otlp(mut trace: Trace, lists: &mut ListWriter<'_>) -> Result<(), QueryError> {
    let elements = resource_spans(&trace);
    let bytes: usize = elements.iter().map(Message::encoded_len).sum();
    if bytes <= MAX_CHUNK || trace.spans.len() == 1 {
        elements.iter().try_for_each(|element| lists.push(element))?;
        return lists.end_list();
    }
    drop(elements);
    let parts = bytes / MAX_CHUNK + 1;
    let spans = trace.spans.len().div_ceil(parts).min(trace.spans.len() - 1);
    while !trace.spans.is_empty() {
        let rest = trace.spans.split_off(spans.min(trace.spans.len()));
        write_otlp(std::mem::replace(&mut trace, Trace { spans: rest }), lists)?;
    }
    Ok(())
}
