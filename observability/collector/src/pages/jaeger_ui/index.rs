//! Configures the page of a Jaeger UI as Jaeger's own server does: by replacing default values in its script.

use serde_json::json;

use crate::base_path::BasePath;

/// Returns the configured page, or `None` if it has no `<head>`.
pub(super) fn prepare(page: &str, base: &BasePath) -> Option<String> {
    let capabilities = json!({ "archiveStorage": false, "metricsStorage": true, "aiAssistant": false });
    let replacements = [
        // No `monitor` object: it would replace the UI's default, which already enables the Monitor tab.
        ("CONFIG", json!({ "archiveEnabled": false })),
        (
            "VERSION",
            json!({ "gitCommit": "", "gitVersion": concat!("v", env!("CARGO_PKG_VERSION")), "buildDate": "" }),
        ),
        ("BACKEND_CAPABILITIES", capabilities.clone()),
        ("STORAGE_CAPABILITIES", capabilities),
    ];
    let page = with_base(page, base)?;
    Some(replacements.iter().fold(page, |page, (name, value)| with_constant(&page, name, &value.to_string())))
}

/// Inserts a `<base>` element directly after `<head>`: browsers use the first one of a page.
fn with_base(page: &str, base: &BasePath) -> Option<String> {
    // Changes only ASCII letters, so byte offsets stay valid.
    let lower = page.to_ascii_lowercase();
    let is_head = |start: &usize| {
        let after = lower[start + "<head".len()..].chars().next();
        after.is_some_and(|c| c == '>' || c.is_ascii_whitespace())
    };
    let start = lower.match_indices("<head").map(|(start, _)| start).find(is_head)?;
    let end = start + lower[start..].find('>')? + 1;
    // A base path needs no escaping in HTML or in a URL.
    Some(format!("{}<base href=\"{}/\">{}", &page[..end], base.as_str(), &page[end..]))
}

/// Replaces every `JAEGER_X = DEFAULT_X;` by `JAEGER_X = {…};`, with any number of spaces around `=`.
fn with_constant(page: &str, name: &str, value: &str) -> String {
    let (target, default) = (format!("JAEGER_{name}"), format!("DEFAULT_{name}"));
    let mut out = String::with_capacity(page.len() + value.len());
    let mut rest = page;
    while let Some(start) = rest.find(&target) {
        let (before, after) = rest.split_at(start + target.len());
        out.push_str(before);
        rest = after;
        if let Some(tail) = after_assignment(after, &default) {
            out.extend([" = ", value, ";"]);
            rest = tail;
        }
    }
    out + rest
}

fn after_assignment<'a>(text: &'a str, value: &str) -> Option<&'a str> {
    let text = text.trim_start_matches(' ').strip_prefix('=')?;
    text.trim_start_matches(' ').strip_prefix(value)?.strip_prefix(';')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inserts_the_base_directly_after_the_head() {
        for (page, expected) in [
            ("<head><base href='./'>", "<head><base href=\"/\"><base href='./'>"),
            ("<header><HEAD lang=\"en\">\n", "<header><HEAD lang=\"en\"><base href=\"/\">\n"),
            ("İ<head>x", "İ<head><base href=\"/\">x"),
        ] {
            assert_eq!(with_base(page, &BasePath::default()).as_deref(), Some(expected));
        }
        for page in ["", "<header>", "<head", "<html><body>"] {
            assert_eq!(with_base(page, &BasePath::default()), None, "{page}");
        }
    }

    #[test]
    fn replaces_all_assignments_of_a_default() {
        let page = "// JAEGER_X_JS\nJAEGER_X=DEFAULT_X;JAEGER_X  =  DEFAULT_X; JAEGER_X = OTHER; DEFAULT_X;";
        let expected = "// JAEGER_X_JS\nJAEGER_X = 1;JAEGER_X = 1; JAEGER_X = OTHER; DEFAULT_X;";
        assert_eq!(with_constant(page, "X", "1"), expected);
    }
}
