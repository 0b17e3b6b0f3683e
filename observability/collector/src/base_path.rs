//! The path below which a proxy in front of the query port passes its requests on.

/// Empty, or `/jaeger` and its like: no `/` at the end, nothing that would have to be escaped in a URL or in HTML.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct BasePath(String);

/// A text that is no base path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path:?} is no base path: {reason}")]
pub struct ParseBasePathError {
    path: String,
    reason: &'static str,
}

/// What stays at the root, whatever the base path is.
const TAKEN: [&str; 3] = ["api", "health", "metrics"];

impl BasePath {
    pub(crate) fn parse(path: &str) -> Result<Self, ParseBasePathError> {
        let refuse = |reason| Err(ParseBasePathError { path: path.to_owned(), reason });
        let Some(inner) = path.strip_prefix('/') else { return refuse("it has to start with '/'") };
        let unreserved = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
        let segments: Vec<&str> = inner.split('/').collect();
        if segments.contains(&"") {
            refuse("it has to name a path, without '/' at its end or '//' within; leave it out for the root")
        } else if segments.iter().any(|segment| [".", ".."].contains(segment)) {
            refuse("'.' and '..' lead elsewhere")
        } else if !inner.chars().all(|c| c == '/' || unreserved(c)) {
            refuse("only letters, digits and -._~ need no escaping")
        } else if TAKEN.contains(&segments[0]) {
            refuse("/api, /health and /metrics are the collector's own")
        } else {
            Ok(Self(path.to_owned()))
        }
    }

    /// What to write before a path that starts with `/`.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_path_needs_no_escaping_and_hides_nothing() {
        for path in ["/jaeger", "/a/b", "/~x/v1.2", "/apis"] {
            assert_eq!(BasePath::parse(path).map(|base| base.0), Ok(path.to_owned()));
        }
        for path in [
            "",
            "/",
            "jaeger",
            "/jaeger/",
            "//x",
            "/a/../b",
            "/.",
            "/a b",
            "/a{b}",
            "/ä",
            "/api",
            "/metrics/x",
        ] {
            assert!(BasePath::parse(path).is_err(), "{path}");
        }
    }
}
