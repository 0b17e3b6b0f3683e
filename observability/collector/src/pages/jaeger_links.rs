//! Links that Grafana, Kiali and other programs make to Jaeger's UI, translated to the built-in pages.

use serde_json::Value;

use super::form::Form;
use super::tags;
use crate::format;

/// The operation in links to all operations.
const ALL_OPERATIONS: &str = "all";

/// Returns the path, without the base path, of the page that a link to `/search` means. Values that cannot be translated
/// stay as they are, so that the page shows them with their errors.
pub(super) fn search(parameters: &[(String, String)]) -> String {
    let all = |name: &'static str| {
        parameters.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    };
    let first = |name| all(name).next().unwrap_or_default().to_owned();
    if let [id] = all("traceID").collect::<Vec<_>>()[..]
        && id.chars().all(|c| c.is_ascii_hexdigit())
    {
        return format!("/trace/{id}");
    }
    let operation = first("operation");
    let (from, to) = (instant(&first("start")), instant(&first("end")));
    let lookback = first("lookback");
    let is_custom = lookback == "custom" || !from.is_empty() || !to.is_empty();
    let form = Form {
        service: first("service"),
        operation: if operation == ALL_OPERATIONS { String::new() } else { operation },
        tags: all("tags").map(tags_of).chain(all("tag").map(tag)).collect::<Vec<_>>().join(" "),
        min_duration: first("minDuration"),
        max_duration: first("maxDuration"),
        last: if is_custom { String::new() } else { hours(&lookback) },
        from,
        to,
        limit: first("limit"),
        ..Form::default()
    };
    format!("/?{}", form.link(None))
}

/// Translates microseconds since the epoch.
fn instant(text: &str) -> String {
    let ns = text.parse::<u64>().ok().and_then(|us| us.checked_mul(1000));
    ns.map_or_else(|| text.to_owned(), format::instant)
}

/// Translates a number of days, such as `2d`, which Go's durations lack.
fn hours(text: &str) -> String {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok());
    days.map_or_else(|| text.to_owned(), |days| format!("{}h", days.saturating_mul(24)))
}

/// Translates `{"key":"value"}`.
fn tags_of(text: &str) -> String {
    let Ok(Value::Object(pairs)) = serde_json::from_str(text) else { return text.to_owned() };
    let pair = |(key, value): (&String, &Value)| match value {
        Value::String(value) => tags::write(key, value),
        other => tags::write(key, &other.to_string()),
    };
    pairs.iter().map(pair).collect::<Vec<_>>().join(" ")
}

/// Translates `key:value`.
fn tag(text: &str) -> String {
    text.split_once(':').map_or_else(|| text.to_owned(), |(key, value)| tags::write(key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(parameters: &[(&str, &str)]) -> String {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        search(&parameters.iter().map(owned).collect::<Vec<_>>())
    }

    #[test]
    fn translates_the_parameters_of_jaegers_search() {
        for (parameters, expected) in [
            (&[("service", "shop"), ("operation", "all"), ("lookback", "2d")][..], "/?service=shop&last=48h"),
            (
                &[("service", "shop"), ("operation", "GET /"), ("limit", "5"), ("minDuration", "1ms")],
                "/?service=shop&operation=GET%20%2F&minDuration=1ms&limit=5",
            ),
            (
                &[("tags", r#"{"http.status_code":"500","n":7,"q":"a b"}"#), ("tag", "error:true")],
                "/?tags=http%2Estatus%5Fcode%3D500%20n%3D7%20q%3D%22a%20b%22%20error%3Dtrue",
            ),
            (
                &[("start", "1000000"), ("end", "2000000"), ("lookback", "1h")],
                "/?from=1970%2D01%2D01T00%3A00%3A01%2E000000Z&to=1970%2D01%2D01T00%3A00%3A02%2E000000Z",
            ),
            (&[("lookback", "custom"), ("start", "soon")], "/?from=soon"),
            (&[("tags", "{oops")], "/?tags=%7Boops"),
            (&[("traceID", "abc")], "/trace/abc"),
            (&[("traceID", "//evil")], "/?"),
            (&[], "/?"),
        ] {
            assert_eq!(page(parameters), expected);
        }
    }
}
