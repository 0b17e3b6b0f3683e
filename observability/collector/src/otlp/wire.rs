//! Protobuf's wire format, read in place: iterates over the fields of a message without copying or allocating.
//!
//! Specification: protobuf.dev/programming-guides/encoding. Groups, which OTLP does not use, are rejected.
//!
//! Considered: the crates `prost` and `quick-protobuf`. Both build a struct for every nested message; ingest reads only the
//! header of a span and validates the rest in place.

/// An error in the encoding of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("message ends in the middle of a field")]
    Truncated,
    #[error("field has the wrong wire type")]
    WireType,
    #[error("text is not UTF-8")]
    NotUtf8,
    /// Not an error in the encoding: a repair would multiply the size.
    #[error("too long once repaired")]
    TooLongRepaired,
}

/// A field's value, by its wire type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Field<'m> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'m [u8]),
}

/// The unread fields of a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'m>(pub(crate) &'m [u8]);

impl<'m> Fields<'m> {
    /// Returns the next field's number and value; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Field<'m>)>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        // The same limit as prost's, which decodes the message later.
        let key = u32::try_from(key).map_err(|_| Malformed::WireType)?;
        let number = key >> 3;
        let value = match key & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(u64::from_le_bytes(self.fixed()?)),
            2 => Field::Bytes(self.bytes()?),
            5 => Field::Fixed32(u32::from_le_bytes(self.fixed()?)),
            _ => return Err(Malformed::WireType),
        };
        if number == 0 {
            return Err(Malformed::WireType);
        }
        Ok(Some((number, value)))
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for (index, byte) in self.0.iter().enumerate().take(10) {
            // The tenth byte holds only the 64th bit.
            if index == 9 && *byte > 1 {
                return Err(Malformed::WireType);
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                self.0 = &self.0[index + 1..];
                return Ok(value);
            }
        }
        Err(if self.0.len() < 10 { Malformed::Truncated } else { Malformed::WireType })
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (value, rest) = self.0.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(*value)
    }

    fn bytes(&mut self) -> Result<&'m [u8], Malformed> {
        let length = usize::try_from(self.varint()?).map_err(|_| Malformed::Truncated)?;
        let (value, rest) = self.0.split_at_checked(length).ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(value)
    }
}

impl<'m> Field<'m> {
    pub(crate) fn bytes(self) -> Result<&'m [u8], Malformed> {
        if let Self::Bytes(bytes) = self { Ok(bytes) } else { Err(Malformed::WireType) }
    }

    pub(crate) fn text(self) -> Result<&'m str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed::NotUtf8)
    }

    pub(crate) fn varint(self) -> Result<u64, Malformed> {
        if let Self::Varint(value) = self { Ok(value) } else { Err(Malformed::WireType) }
    }

    pub(crate) fn fixed64(self) -> Result<u64, Malformed> {
        if let Self::Fixed64(value) = self { Ok(value) } else { Err(Malformed::WireType) }
    }

    pub(crate) fn fixed32(self) -> Result<u32, Malformed> {
        if let Self::Fixed32(value) = self { Ok(value) } else { Err(Malformed::WireType) }
    }
}
