//! Types of settings that several roles read: secrets, lists, durations.
//!
//! clap reads every setting from a flag or from the variable of the same name, as [`crate::serve::Settings`] lists them.

use std::convert::Infallible;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// A setting that is missing or that clap cannot check, such as the content of a file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A secret without a default is not set.
    #[error("{name} is not set: {hint}")]
    Missing {
        /// The variable.
        name: &'static str,
        /// What to set it to.
        hint: &'static str,
    },
    /// A value is out of its range. The reason does not contain the value: it may be a secret.
    #[error("{name} is invalid: {reason}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// What is wrong with the value.
        reason: String,
    },
    /// Variables of PostgreSQL's clients changed the connection to the database.
    #[error("the connection to the database uses {names} of the environment: unset what is not meant for it")]
    ClientVariables {
        /// The variables.
        names: String,
        /// The error of the connection.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file that holds a secret cannot be read.
    #[error("{name}_FILE={}: cannot read the file", path.display())]
    Unreadable {
        /// The variable of the secret, without `_FILE`.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

/// Text that no log line, error or `Debug` output contains.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Returns the text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl FromStr for Secret {
    type Err = Infallible;

    /// Accepts any text: clap quotes a value that its parser rejects, so secrets are checked later.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

/// Returns the secret `name`: the content of `file`, or else `value`, without white space at its end.
///
/// # Errors
///
/// Fails if neither is set, with `hint`, or if the file cannot be read.
pub(crate) fn secret(
    name: &'static str,
    value: Option<&Secret>,
    file: Option<&Path>,
    hint: &'static str,
) -> Result<Secret, Error> {
    let Some(path) = file else {
        let value = value.ok_or(Error::Missing { name, hint })?;
        return Ok(Secret(value.expose().trim_end().to_owned()));
    };
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Secret(text.trim_end().to_owned())),
        Err(source) => Err(Error::Unreadable { name, path: path.to_owned(), source }),
    }
}

/// A comma-separated list. White space around items and empty items are ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommaSeparated<T>(pub(crate) Vec<T>);

impl<T: FromStr> FromStr for CommaSeparated<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        items.map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

/// Length of the leases of the notification service, which the booking service also reads: it publishes an event again only after
/// a lease has expired.
#[derive(Debug, Clone, Copy, clap::Args)]
#[group(skip)]
pub(crate) struct LeaseLength {
    /// Length of a lease of the notification service, in milliseconds (1000 to 600000)
    #[arg(
        id = "notification_lease_ms", long = "notification-lease-ms", env = "NOTIFICATION_LEASE_MS", value_name = "MS",
        default_value = "30000", value_parser = milliseconds(1_000..=600_000)
    )]
    notification_lease: Duration,
}

impl LeaseLength {
    /// Returns the length.
    pub(crate) fn duration(self) -> Duration {
        self.notification_lease
    }
}

/// Returns a parser of a number of milliseconds in `range`.
pub(crate) fn milliseconds(
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.trim().parse().ok().filter(|number| range.contains(number));
        let expected =
            || format!("must be a number of milliseconds from {} to {}", range.start(), range.end());
        number.map(Duration::from_millis).ok_or_else(expected)
    }
}

/// Parses a number of seconds.
pub(crate) fn seconds(text: &str) -> Result<Duration, &'static str> {
    text.trim().parse().map(Duration::from_secs).map_err(|_| "must be a number of seconds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_ignores_spaces_and_empty_items() {
        assert_eq!("1, 2,,".parse::<CommaSeparated<u8>>().unwrap(), CommaSeparated(vec![1, 2]));
        assert!("1,two".parse::<CommaSeparated<u8>>().is_err());
    }

    #[test]
    fn milliseconds_outside_their_range_are_rejected() {
        let parse = milliseconds(3_000..=600_000);
        assert_eq!(parse("3000"), Ok(Duration::from_secs(3)));
        assert_eq!(parse("500").unwrap_err(), "must be a number of milliseconds from 3000 to 600000");
        assert!(parse("ten").is_err());
    }

    #[test]
    fn the_file_of_a_secret_takes_precedence_over_its_value() {
        let path = std::env::temp_dir().join(format!("workbench-secret-{}", std::process::id()));
        std::fs::write(&path, "from the file\n").unwrap();
        let value = Secret("from the variable".into());
        let secret = secret("JWT_SECRET", Some(&value), Some(&path), "").unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(secret.expose(), "from the file");
    }

    #[test]
    fn errors_name_a_missing_secret_and_an_unreadable_file() {
        let missing = secret("JWT_SECRET", None, None, "set it").unwrap_err().to_string();
        assert_eq!(missing, "JWT_SECRET is not set: set it");
        let unreadable = secret("JWT_SECRET", None, Some(Path::new("/nonexistent")), "").unwrap_err();
        assert!(unreadable.to_string().starts_with("JWT_SECRET_FILE=/nonexistent"), "{unreadable}");
    }

    #[test]
    fn debug_output_hides_a_secret() {
        assert_eq!(format!("{:?}", Secret("hunter2".into())), "[secret]");
    }
}
