//! The URL of a database, printed without its password.

use reqwest::Url;

/// Shown in place of a password.
const MASK: &str = "***";

/// Returns `url` with its password replaced by `***`; only `***` if it is not a URL of PostgreSQL.
pub(super) fn masked(url: &str) -> String {
    let url = url.parse::<Url>().ok().filter(|url| url.scheme().starts_with("postgres"));
    let Some(mut url) = url else { return MASK.to_owned() };
    // Fails only for a URL that cannot have a password.
    let _ = url.password().is_some().then(|| url.set_password(Some(MASK)));
    if url.query_pairs().any(|(name, _)| name == "password") {
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let masked = |(name, value)| if name == "password" { (name, MASK.to_owned()) } else { (name, value) };
        url.query_pairs_mut().clear().extend_pairs(pairs.into_iter().map(masked));
    }
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_everything_but_the_password() {
        for (url, shown) in [
            ("postgres://me:hunter2@host:5432/db", "postgres://me:***@host:5432/db"),
            (
                "postgresql://me:hunter%32@host/db?sslmode=disable",
                "postgresql://me:***@host/db?sslmode=disable",
            ),
            ("postgres://host/db?user=me&password=hunter2", "postgres://host/db?user=me&password=***"),
            ("postgres://me@host/db", "postgres://me@host/db"),
            ("me:hunter2@host/db:", "***"),
        ] {
            assert_eq!(masked(url), shown);
        }
    }
}
