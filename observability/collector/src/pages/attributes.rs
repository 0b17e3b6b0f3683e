//! Attributes as a table, or as pairs within a table cell.

use maud::{Markup, html};

use super::budget::MarkupBudget;
use super::text;
use crate::format;
use crate::otlp::text::as_text;
use crate::trace::{Attribute, Value};

/// Maximum number of attributes, events or links shown of one list.
pub(super) const SHOWN: usize = 100;

/// Renders attributes as a table with a caption; renders nothing if there are none.
pub(super) fn table(
    budget: &MarkupBudget,
    caption: &Markup,
    attributes: &[Attribute],
    dropped: u32,
) -> Markup {
    let rows = budget.list(attributes.iter().take(SHOWN), row);
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

/// Renders attributes as pairs of key and value, for a table cell.
pub(super) fn pairs(budget: &MarkupBudget, attributes: &[Attribute], dropped: u32) -> Markup {
    let pairs = budget.list(attributes.iter().take(SHOWN), pair);
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
        Value::Bytes(_) => "bytes (base64)",
        Value::Array(_) => "list",
        Value::Map(_) => "map",
    }
}

/// Renders how many items of a list are not shown, and how many the sender dropped.
pub(super) fn missing(total: usize, shown: usize, dropped: u32, noun: &str) -> Markup {
    let hidden = total - shown;
    let hidden_noun = if shown > 0 { format!("more {noun}") } else { noun.to_owned() };
    html! {
        @if hidden > 0 { p.hint { (format::count(hidden, &hidden_noun)) " in the JSON." } }
        @if dropped > 0 { p.hint { (format::count(dropped as usize, noun)) " dropped by the sender." } }
    }
}
