//! The search form as HTML. Entered values stay, and each invalid field has its error message below it.

use maud::{Markup, html};

use super::form::{DEFAULT_LIMIT, FieldErrors, Form, FormField, LONGEST, MAX_LIMIT};
use super::text;
use crate::base_path::BasePath;

const LAST: [(&str, &str); 6] = [
    ("", "Any time"),
    ("5m", "Last 5 minutes"),
    ("15m", "Last 15 minutes"),
    ("1h", "Last hour"),
    ("6h", "Last 6 hours"),
    ("48h", "Last 2 days"),
];

pub(super) fn form(
    base: &BasePath,
    form: &Form,
    errors: &FieldErrors,
    services: &[(String, usize)],
    operations: &[String],
    example: Option<&str>,
) -> Markup {
    let known = services.iter().any(|(service, _)| *service == form.service);
    html! {
        form action={ (base.as_str()) "/" } {
            .wide {
                label for="service" { "Service" }
                select #service name="service" {
                    option value="" { "All services" }
                    @if !known && !form.service.is_empty() {
                        option value=(form.service) selected { (text::visible(&form.service)) }
                    }
                    @for (service, _) in services {
                        option value=(service) selected[*service == form.service] { (text::visible(service)) }
                    }
                }
            }
            .wide {
                label for="operation" { "Operation" }
                input #operation name="operation" value=(form.operation) list="operations" autocomplete="off"
                    spellcheck="false";
                datalist #operations { @for operation in operations { option value=(operation) {} } }
            }
            (tags(form, errors, example))
            (input("minDuration", "Minimum duration", &form.min_duration, "1.2ms", errors.get(&FormField::MinDuration)))
            (input("maxDuration", "Maximum duration", &form.max_duration, "3s", errors.get(&FormField::MaxDuration)))
            (times(form, errors))
            (sort(form, errors))
            (input("limit", "Limit", &form.limit, &DEFAULT_LIMIT.to_string(), errors.get(&FormField::Limit)))
            .actions {
                button { "Search" }
                a href={ (base.as_str()) "/" } { "Clear" }
            }
            p.hint.wide { "A trace matches if one of its spans meets all conditions. The limit is a number of traces, up to " (MAX_LIMIT) "." }
        }
    }
}

/// `example` is a tag that a search finds.
fn tags(form: &Form, errors: &FieldErrors, example: Option<&str>) -> Markup {
    let error = errors.get(&FormField::Tags);
    html! {
        .wide {
            label for="tags" { "Tags" }
            textarea #tags name="tags" rows="2" spellcheck="false" placeholder=[example.map(text::visible)]
                aria-invalid=[error.map(|_| "true")]
                aria-describedby=(if error.is_some() { "tags-problem tags-hint" } else { "tags-hint" }) {
                // Browsers ignore a line break right after the tag.
                "\n" (form.tags)
            }
            (problem("tags", error))
            p.hint #tags-hint { code { "key=value" } ", separated by spaces or line breaks; quote values that contain spaces" }
        }
    }
}

fn sort(form: &Form, errors: &FieldErrors) -> Markup {
    // The position of a page is not visible, and belongs to the order.
    let error = errors.get(&FormField::Sort).or(errors.get(&FormField::After));
    let known = form.sort.is_empty() || form.sort == LONGEST;
    html! {
        div {
            label for="sort" { "Order" }
            select #sort name="sort" aria-invalid=[error.map(|_| "true")]
                aria-describedby=[error.map(|_| "sort-problem")] {
                @if !known { option value=(form.sort) selected { (text::visible(&form.sort)) } }
                option value="" { "Latest first" }
                option value=(LONGEST) selected[form.sort == LONGEST] { "Longest first" }
            }
            (problem("sort", error))
        }
    }
}

fn times(form: &Form, errors: &FieldErrors) -> Markup {
    let error = errors.get(&FormField::Last);
    let known = LAST.iter().any(|(value, _)| *value == form.last);
    html! {
        .wide {
            label for="last" { "Time" }
            select #last name="last" aria-invalid=[error.map(|_| "true")]
                aria-describedby=[error.map(|_| "last-problem")] {
                @if !known { option value=(form.last) selected { "Last " (form.last) } }
                @for (value, shown) in LAST { option value=(value) selected[value == form.last] { (shown) } }
            }
            (problem("last", error))
        }
        details.wide.explicit open[!form.from.is_empty() || !form.to.is_empty()] {
            summary { "Custom time range" }
            p.hint { "Replaces the time above. Either end can be empty." }
            (input("from", "From", &form.from, "2026-01-31T09:30:00Z", errors.get(&FormField::From)))
            (input("to", "To", &form.to, "2026-01-31T10:00:00+01:00", errors.get(&FormField::To)))
        }
    }
}

fn input<E: std::fmt::Display>(
    name: &str,
    label: &str,
    typed: &str,
    placeholder: &str,
    error: Option<&E>,
) -> Markup {
    html! {
        div {
            label for=(name) { (label) }
            input id=(name) name=(name) value=(typed) placeholder=(placeholder) autocomplete="off" spellcheck="false"
                aria-invalid=[error.map(|_| "true")]
                aria-describedby=[error.map(|_| format!("{name}-problem"))];
            (problem(name, error))
        }
    }
}

fn problem<E: std::fmt::Display>(name: &str, error: Option<&E>) -> Markup {
    html! {
        @if let Some(error) = error { p.problem id={ (name) "-problem" } { (error) } }
    }
}
