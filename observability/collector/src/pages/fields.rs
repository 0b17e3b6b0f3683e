//! The search form as HTML: what was typed stays, and what is wrong is said beside the field.

use maud::{Markup, html};

use super::form::{Field, Form, LARGEST_LIMIT, LIMIT, Mistakes};
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
    mistakes: &Mistakes,
    services: &[(String, usize)],
    operations: &[String],
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
            (tags(form, mistakes))
            (input("minDuration", "Shortest", &form.min_duration, "1.2ms", mistakes.get(&Field::MinDuration)))
            (input("maxDuration", "Longest", &form.max_duration, "3s", mistakes.get(&Field::MaxDuration)))
            (times(form, mistakes))
            (input("limit", "Limit", &form.limit, &LIMIT.to_string(), mistakes.get(&Field::Limit)))
            .actions {
                button { "Search" }
                a href={ (base.as_str()) "/" } { "Clear" }
            }
            p.hint.wide { "One span of a trace has to meet all conditions. The limit is in traces, up to " (LARGEST_LIMIT) "." }
        }
    }
}

fn tags(form: &Form, mistakes: &Mistakes) -> Markup {
    let mistake = mistakes.get(&Field::Tags);
    html! {
        .wide {
            label for="tags" { "Tags" }
            textarea #tags name="tags" rows="2" spellcheck="false" placeholder="http.status_code=500 error=true"
                aria-invalid=[mistake.map(|_| "true")]
                aria-describedby=(if mistake.is_some() { "tags-problem tags-hint" } else { "tags-hint" }) {
                // A browser leaves out the first line break.
                "\n" (form.tags)
            }
            (problem("tags", mistake))
            p.hint #tags-hint { code { "key=value" } ", several between blanks or on lines; quotes around a value with blanks" }
        }
    }
}

fn times(form: &Form, mistakes: &Mistakes) -> Markup {
    let mistake = mistakes.get(&Field::Last);
    let known = LAST.iter().any(|(value, _)| *value == form.last);
    html! {
        .wide {
            label for="last" { "Time" }
            select #last name="last" aria-invalid=[mistake.map(|_| "true")]
                aria-describedby=[mistake.map(|_| "last-problem")] {
                @if !known { option value=(form.last) selected { "Last " (form.last) } }
                @for (value, shown) in LAST { option value=(value) selected[value == form.last] { (shown) } }
            }
            (problem("last", mistake))
        }
        details.wide.explicit open[!form.from.is_empty() || !form.to.is_empty()] {
            summary { "From one time to another" }
            p.hint { "Counts instead of the time above; either end can be left open." }
            (input("from", "From", &form.from, "2026-01-31T09:30:00Z", mistakes.get(&Field::From)))
            (input("to", "To", &form.to, "2026-01-31T10:00:00+01:00", mistakes.get(&Field::To)))
        }
    }
}

fn input<E: std::fmt::Display>(
    name: &str,
    label: &str,
    typed: &str,
    placeholder: &str,
    mistake: Option<&E>,
) -> Markup {
    html! {
        div {
            label for=(name) { (label) }
            input id=(name) name=(name) value=(typed) placeholder=(placeholder) autocomplete="off" spellcheck="false"
                aria-invalid=[mistake.map(|_| "true")]
                aria-describedby=[mistake.map(|_| format!("{name}-problem"))];
            (problem(name, mistake))
        }
    }
}

fn problem<E: std::fmt::Display>(name: &str, mistake: Option<&E>) -> Markup {
    html! {
        @if let Some(mistake) = mistake { p.problem id={ (name) "-problem" } { (mistake) } }
    }
}
