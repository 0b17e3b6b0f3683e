//! Attributes as a table, or within a cell of one.

use maud::{Markup, html};

use super::room::Room;
use super::{quantity, text};
use crate::otlp::text::as_text;
use crate::trace::{Attribute, Value};

/// Attributes, events or links shown of each list.
pub(super) const SHOWN: usize = 100;

/// `caption` stands above them, if there are any.
pub(super) fn table(room: &Room, caption: &Markup, attributes: &[Attribute], dropped: u32) -> Markup {
    let rows = room.list(attributes.iter().take(SHOWN), row);
    html! {
        @if !rows.is_empty() {
            table {
                (caption)
                thead.visually-hidden { tr { th scope="col" { "Key" } th scope="col" { "Value" } th scope="col" { "Type" } } }
                tbody { @for row in &rows { (row) } }
            }
        }
        (missing(attributes.len(), rows.len(), dropped, "attribute"))
    }
}

fn row(Attribute { key, value }: &Attribute) -> Markup {
    html! {
        tr {
            th scope="row" { (text::name(key)) }
            td { (text::value(&as_text(value))) }
            td.soft { (type_name(value)) }
        }
    }
}

pub(super) fn pairs(room: &Room, attributes: &[Attribute], dropped: u32) -> Markup {
    let pairs = room.list(attributes.iter().take(SHOWN), pair);
    html! {
        @for pair in &pairs { (pair) }
        (missing(attributes.len(), pairs.len(), dropped, "attribute"))
    }
}

fn pair(Attribute { key, value }: &Attribute) -> Markup {
    html! {
        div.pair { span.soft { (text::name(key)) "=" } (text::value(&as_text(value))) " " small.soft { (type_name(value)) } }
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Empty => "empty",
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Double(_) => "double",
        Value::Bytes(_) => "bytes, in base64",
        Value::Array(_) => "list",
        Value::Map(_) => "map",
    }
}

/// What is not shown of a list, and by whose doing.
pub(super) fn missing(given: usize, shown: usize, dropped: u32, thing: &str) -> Markup {
    let hidden = given - shown;
    let thing_more = if shown > 0 { format!("more {thing}") } else { thing.to_owned() };
    html! {
        @if hidden > 0 { p.hint { (quantity::count(hidden, &thing_more)) " in the JSON." } }
        @if dropped > 0 { p.hint { (quantity::count(dropped as usize, thing)) " left out by the sender." } }
    }
}
