//! The path below which a reverse proxy serves the query port.

use std::fmt;
use std::str::FromStr;

/// A URL path without a slash at its end and without characters that a URL or HTML would have to escape, such as
/// `/jaeger`. The empty path is the root.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BasePath(String);

/// A text that is not a base path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a path such as /jaeger: {0}")]
pub struct ParseBasePathError(&'static str);

/// First segments of paths that are served at the root regardless of the base path.
const RESERVED: [&str; 3] = ["api", "health", "metrics"];

impl BasePath {
    /// Returns the path as a prefix of paths that start with `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BasePath {
    type Err = ParseBasePathError;

    fn from_str(path: &str) -> Result<Self, ParseBasePathError> {
        let reject = |reason| Err(ParseBasePathError(reason));
        if path.is_empty() {
            return Ok(Self::default());
        }
        let Some(inner) = path.strip_prefix('/') else { return reject("it must start with '/'") };
        let unreserved = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
        let segments: Vec<&str> = inner.split('/').collect();
        if segments.contains(&"") {
            reject("it must not contain '//' or end with '/'; leave it empty for the root")
        } else if segments.iter().any(|segment| [".", ".."].contains(segment)) {
            reject("it must not contain the segments '.' and '..'")
        } else if !inner.chars().all(|c| c == '/' || unreserved(c)) {
            reject("it may contain only letters, digits and -._~/")
        } else if RESERVED.contains(&segments[0]) {
            reject("/api, /health and /metrics are reserved")
        } else {
            Ok(Self(path.to_owned()))
        }
    }
}

impl fmt::Display for BasePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_the_root_and_paths_that_need_no_escaping() {
        for path in ["", "/jaeger", "/a/b", "/~x/v1.2", "/apis"] {
            assert_eq!(path.parse(), Ok(BasePath(path.to_owned())));
        }
    }

    #[test]
    fn rejects_other_paths() {
        for path in
            ["/", "jaeger", "/jaeger/", "//x", "/a/../b", "/.", "/a b", "/a{b}", "/ä", "/api", "/metrics/x"]
        {
            assert!(path.parse::<BasePath>().is_err(), "{path}");
        }
    }
}
