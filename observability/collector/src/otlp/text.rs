//! The text of a value, formatted as the OpenTelemetry Collector does.

use std::borrow::Cow;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize as _;
use serde_json::ser::{Formatter, Serializer};
use serde_json::{Value as Json, json};

use crate::trace::Value;

/// Returns strings unchanged, numbers in decimal, bytes in base64, lists and maps as JSON.
pub(crate) fn as_text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Empty => Cow::Borrowed(""),
        Value::String(text) => Cow::Borrowed(text),
        Value::Bool(flag) => Cow::Borrowed(if *flag { "true" } else { "false" }),
        Value::Int(number) => Cow::Owned(number.to_string()),
        Value::Double(number) => Cow::Owned(double(*number)),
        Value::Bytes(bytes) => Cow::Owned(STANDARD.encode(bytes)),
        Value::Array(_) | Value::Map(_) => Cow::Owned(json_text(value)),
    }
}

/// Returns JSON with numbers in Go's format.
fn json_text(value: &Value) -> String {
    let mut text = Vec::new();
    // Writing to a vector does not fail, and all keys are strings.
    let written = as_json(value).serialize(&mut Serializer::with_formatter(&mut text, GoNumbers));
    debug_assert!(written.is_ok(), "{written:?}");
    String::from_utf8_lossy(&text).into_owned()
}

struct GoNumbers;

impl Formatter for GoNumbers {
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, number: f64) -> io::Result<()> {
        writer.write_all(double(number).as_bytes())
    }
}

/// Returns ProtoJSON's name of a number that is not finite; `None` for any other.
pub(crate) fn not_finite(number: f64) -> Option<&'static str> {
    match number {
        _ if number.is_nan() => Some("NaN"),
        f64::INFINITY => Some("Infinity"),
        f64::NEG_INFINITY => Some("-Infinity"),
        _ => None,
    }
}

/// Formats a number as Go's JSON encoder does: with an exponent below 1e-6 and from 1e21 on.
fn double(number: f64) -> String {
    if let Some(name) = not_finite(number) {
        return name.to_owned();
    }
    let size = number.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{number:e}");
        if size >= 1.0 { text.replacen('e', "e+", 1) } else { text }
    } else {
        number.to_string()
    }
}

/// Returns plain JSON. A number that is not finite becomes its name, since JSON has no notation for it.
fn as_json(value: &Value) -> Json {
    match value {
        Value::Empty => Json::Null,
        Value::String(text) => json!(text),
        Value::Bool(flag) => json!(flag),
        Value::Int(number) => json!(number),
        Value::Double(number) => not_finite(*number).map_or_else(|| json!(number), |name| json!(name)),
        Value::Bytes(bytes) => json!(STANDARD.encode(bytes)),
        Value::Array(list) => list.iter().map(as_json).collect(),
        Value::Map(map) => {
            Json::Object(map.iter().map(|item| (item.key.clone(), as_json(&item.value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Attribute;

    #[test]
    fn formats_doubles_as_go_does() {
        let doubles = [0.0, 72.5, -0.1, 1e20, 1e21, -1.5e300, 1e-6, 1e-7, 2.5e-10, 123_456_789.0];
        let texts = ["0", "72.5", "-0.1", "100000000000000000000", "1e+21", "-1.5e+300", "0.000001", "1e-7"];
        let texts = [&texts[..], &["2.5e-10", "123456789"]].concat();
        for (number, text) in doubles.into_iter().zip(texts) {
            assert_eq!(as_text(&Value::Double(number)), text);
        }
    }

    #[test]
    fn formats_doubles_in_lists_and_maps_as_go_does() {
        let double = Value::Double;
        let numbers = vec![double(1.0), double(2.5), double(1e16), double(1e21), double(1e-7), double(-0.0)];
        let list = Value::Array([numbers, vec![Value::Int(7), double(f64::NAN)]].concat());
        let text = "[1,2.5,10000000000000000,1e+21,1e-7,-0,7,\"NaN\"]";
        assert_eq!(as_text(&list), text);
        let map = Value::Map(vec![Attribute { key: "é\"".to_owned(), value: list }]);
        assert_eq!(as_text(&map), format!("{{\"é\\\"\":{text}}}"));
    }
}
