//! A message of a stream, encoded where the traces are read: the memory of a reply is known exactly, and no thread of the
//! runtime encodes it.

use bytes::{Buf, BufMut, Bytes};
use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, skip_field};

/// An encoded message. All streamed messages of Jaeger's interfaces are lists: they repeat field 1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Chunk(pub(crate) Bytes);

impl Chunk {
    /// Number of the repeated field.
    pub(crate) const ELEMENT: u32 = 1;
}

impl prost::Message for Chunk {
    fn encode_raw(&self, buffer: &mut impl BufMut) {
        buffer.put_slice(&self.0);
    }

    /// Chunks are only sent, so the fields of a received one are skipped.
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        skip_field(wire_type, tag, buffer, context)
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}
