//! Writes fields in protobuf's wire format.

use prost::encoding::{WireType, encode_key, encode_varint};

/// Appends a length-delimited field.
pub(crate) fn push_bytes(out: &mut Vec<u8>, number: u32, contents: &[u8]) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(contents.len() as u64, out);
    out.extend_from_slice(contents);
}

/// Appends a varint field.
pub(super) fn push_varint(out: &mut Vec<u8>, number: u32, value: u64) {
    encode_key(number, WireType::Varint, out);
    encode_varint(value, out);
}

/// Appends a length-delimited field whose contents `write` appends.
pub(crate) fn push_nested<T>(out: &mut Vec<u8>, number: u32, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    encode_key(number, WireType::LengthDelimited, out);
    let at = out.len();
    // One byte for the length: most messages are shorter than 128 bytes, and longer ones are moved.
    out.push(0);
    let written = write(out);
    let length = out.len() - at - 1;
    if length < 0x80 {
        out[at] = length as u8;
    } else {
        let mut varint = [0; 10];
        let mut rest = varint.as_mut_slice();
        encode_varint(length as u64, &mut rest);
        let used = 10 - rest.len();
        out.splice(at..=at, varint[..used].iter().copied());
    }
    written
}
