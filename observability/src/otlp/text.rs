//! The text of a value, as OpenTelemetry's collector writes it where only text will do.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};

use crate::span::Value;

/// Text as it is, numbers in decimal, bytes in base64, lists and maps as JSON.
pub(crate) fn as_text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Empty => Cow::Borrowed(""),
        Value::String(text) => Cow::Borrowed(text),
        Value::Bool(flag) => Cow::Borrowed(if *flag { "true" } else { "false" }),
        Value::Int(number) => Cow::Owned(number.to_string()),
        Value::Double(number) => Cow::Owned(double(*number)),
        Value::Bytes(bytes) => Cow::Owned(STANDARD.encode(bytes)),
        Value::Array(_) | Value::Map(_) => Cow::Owned(as_json(value).to_string()),
    }
}

/// As Go's JSON encoder writes it, and so the collector: with an exponent below 1e-6 and from 1e21 on.
fn double(number: f64) -> String {
    let size = number.abs();
    if size != 0.0 && size.is_finite() && !(1e-6..1e21).contains(&size) {
        let text = format!("{number:e}");
        if size >= 1.0 { text.replacen('e', "e+", 1) } else { text }
    } else {
        number.to_string()
    }
}

/// The JSON that a person would write. What is no finite number becomes `null`, for JSON has no word for it.
pub(crate) fn as_json(value: &Value) -> Json {
    match value {
        Value::Empty => Json::Null,
        Value::String(text) => json!(text),
        Value::Bool(flag) => json!(flag),
        Value::Int(number) => json!(number),
        Value::Double(number) => json!(number),
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

    #[test]
    fn doubles_are_written_as_go_writes_them() {
        let doubles = [0.0, 72.5, -0.1, 1e20, 1e21, -1.5e300, 1e-6, 1e-7, 2.5e-10, 123_456_789.0];
        let texts = ["0", "72.5", "-0.1", "100000000000000000000", "1e+21", "-1.5e+300", "0.000001", "1e-7"];
        let texts = [&texts[..], &["2.5e-10", "123456789"]].concat();
        for (number, text) in doubles.into_iter().zip(texts) {
            assert_eq!(as_text(&Value::Double(number)), text);
        }
    }
}
