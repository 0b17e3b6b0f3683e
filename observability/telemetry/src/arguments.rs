//! Parsers of clap arguments that several processes share: addresses, base URLs, renamed variables, empty variables.

use std::ffi::OsStr;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use clap::builder::{OsStringValueParser, Resettable, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, Command, Id};
use http::uri::Authority;

/// A value that is not what its argument expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not an address to listen on.
    #[error("expected HOST:PORT, such as 127.0.0.1:8000")]
    Address,
    /// Not the base URL of an HTTP server.
    #[error("expected a URL such as http://HOST:PORT")]
    BaseUrl,
}

/// Parses an address to listen on: `HOST:PORT`.
pub fn address(text: &str) -> Result<String, ParseError> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(text.to_owned()),
        _ => Err(ParseError::Address),
    }
}

/// Parses the base URL of an HTTP server, `http://HOST:PORT` without user information, and removes slashes at its end.
pub fn base_url(text: &str) -> Result<String, ParseError> {
    let authority = text.strip_prefix("http://").map(|rest| rest.trim_end_matches('/').parse::<Authority>());
    match authority {
        // A password in a URL would reach the logs.
        Some(Ok(authority)) if is_server(&authority) && !authority.as_str().contains('@') => {
            Ok(format!("http://{authority}"))
        }
        _ => Err(ParseError::BaseUrl),
    }
}

/// Returns whether the authority has a host, and no port or one from 1 to 65535.
fn is_server(authority: &Authority) -> bool {
    let has_port = authority.as_str().len() > authority.host().len();
    !authority.host().is_empty() && (!has_port || authority.port_u16().is_some_and(|port| port > 0))
}

/// Parses the size of a store or a file in bytes, from 64 KiB to 1 TiB.
pub fn bytes<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let size = within(64 << 10..=1 << 40)(text)?;
    T::try_from(size).map_err(|_| format!("{size} bytes are more than this machine can address"))
}

/// Returns a parser of a number in `range`.
pub fn within<T>(
    range: RangeInclusive<T>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + PartialOrd + Clone + fmt::Display + Send + Sync + 'static,
{
    move |text| match text.trim().parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!("must be a number from {} to {}", range.start(), range.end())),
    }
}

/// Parser of a variable that was renamed: any value but the empty one is a usage error that names the new variable.
#[derive(Debug, Clone, Copy)]
pub struct Renamed {
    /// The former name.
    pub from: &'static str,
    /// The present name.
    pub to: &'static str,
}

/// The value of a renamed variable: it can only be empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Empty;

impl TypedValueParser for Renamed {
    type Value = Empty;

    fn parse_ref(&self, command: &Command, _: Option<&Arg>, value: &OsStr) -> Result<Empty, clap::Error> {
        if value.is_empty() {
            return Ok(Empty);
        }
        let message = format!("{} was renamed: set {} instead\n", self.from, self.to);
        Err(clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command))
    }
}

/// Adds to `error` which variable sets the argument that it is about: clap names only the flag, but containers set variables.
pub fn with_variable(mut error: clap::Error, command: &Command) -> clap::Error {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else { return error };
    let flag = argument.split_whitespace().next().unwrap_or_default().to_owned();
    if let Some(variable) = variable_of(command, flag.trim_start_matches('-')) {
        let tip = format!("{variable} sets {flag}");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

/// Returns the variable of the argument `--flag` of `command` or one of its subcommands.
fn variable_of(command: &Command, flag: &str) -> Option<String> {
    let argument = command.get_arguments().find(|argument| argument.get_long() == Some(flag));
    let variable = argument.and_then(Arg::get_env).map(|name| name.to_string_lossy().into_owned());
    variable.or_else(|| command.get_subcommands().find_map(|subcommand| variable_of(subcommand, flag)))
}

/// Makes an empty variable count as unset, for all arguments of `command` and its subcommands.
///
/// The variables in `meaningful` keep their empty value: their arguments give it a meaning of its own.
pub fn ignore_empty_variables(command: Command, meaningful: &[&str]) -> Command {
    let command = command.mut_args(|argument| {
        let has_meaning =
            argument.get_env().is_some_and(|name| meaningful.iter().any(|meaningful| name == *meaningful));
        if !has_meaning && has_empty_variable(&argument) {
            argument.env(Resettable::<clap::builder::OsStr>::Reset)
        } else {
            argument
        }
    });
    command.mut_subcommands(|subcommand| ignore_empty_variables(subcommand, meaningful))
}

/// Returns whether the variable of `argument` is set and empty. Parses a copy of the argument that accepts any text, because
/// clap does not expose the value of a variable before it is parsed.
fn has_empty_variable(argument: &Arg) -> bool {
    if argument.get_env().is_none() || !argument.get_action().takes_values() {
        return false;
    }
    let any_text = OsStringValueParser::new();
    let alone = argument.clone().value_parser(any_text).required(false).requires(Resettable::<Id>::Reset);
    let command =
        Command::new("variable").arg(alone.conflicts_with(Resettable::<Id>::Reset)).ignore_errors(true);
    let Ok(matches) = command.try_get_matches_from(["variable"]) else { return false };
    let id = argument.get_id().as_str();
    matches.value_source(id) == Some(ValueSource::EnvVariable)
        && matches.get_raw(id).is_some_and(|mut values| values.all(OsStr::is_empty))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port() {
        assert_eq!(address("localhost:80"), Ok("localhost:80".to_owned()));
        assert_eq!(address("[::1]:0"), Ok("[::1]:0".to_owned()));
        for text in ["", "localhost", ":80", "localhost:", "localhost:65536"] {
            assert_eq!(address(text), Err(ParseError::Address), "{text}");
        }
    }

    #[test]
    fn an_error_names_the_variable_of_its_argument() {
        let number = Arg::new("size").long("size").env("TEST_SIZE").value_parser(within(1..=9));
        let mut command = Command::new("test").subcommand(Command::new("serve").arg(number));
        let error = command.try_get_matches_from_mut(["test", "serve", "--size", "0"]).unwrap_err();
        let text = with_variable(error, &command).to_string();
        assert!(
            text.contains("must be a number from 1 to 9") && text.contains("TEST_SIZE sets --size"),
            "{text}"
        );
    }

    #[test]
    fn a_number_of_bytes_is_from_64_kib_to_1_tib() {
        assert_eq!(bytes("65536"), Ok(65_536_u64));
        assert_eq!(bytes("1099511627776"), Ok(1_usize << 40));
        for text in ["0", "65535", "1099511627777", "18446744073709551616", "-1", "64k", ""] {
            let error = bytes::<u64>(text).unwrap_err();
            assert_eq!(error, "must be a number from 65536 to 1099511627776", "{text}");
        }
    }

    #[test]
    fn a_base_url_is_a_host_and_a_port() {
        assert_eq!(base_url("http://cache:8010/"), Ok("http://cache:8010".to_owned()));
        for text in [
            "",
            "cache:8010",
            "http://",
            "http://:8010",
            "http://cache:",
            "http://cache:0",
            "http://cache:65536",
            "https://cache:8010",
            "http://cache:8010/path",
            "http://user:password@cache:8010",
        ] {
            assert_eq!(base_url(text), Err(ParseError::BaseUrl), "{text}");
        }
    }

    #[test]
    fn a_renamed_variable_is_refused_unless_it_is_empty() {
        let parser = Renamed { from: "OLD_SIZE", to: "STORE_MAX_BYTES" };
        let command = Command::new("serve");
        assert_eq!(parser.parse_ref(&command, None, OsStr::new("")).unwrap(), Empty);
        let error = parser.parse_ref(&command, None, OsStr::new("1")).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(
            error.to_string().starts_with("error: OLD_SIZE was renamed: set STORE_MAX_BYTES instead"),
            "{error}"
        );
    }

    #[test]
    fn an_empty_variable_counts_as_unset_unless_it_has_a_meaning() {
        // Cargo sets this variable for the tests that it runs. It is empty because `license` is set instead.
        const EMPTY: &str = "CARGO_PKG_LICENSE_FILE";
        let command =
            || Command::new("serve").arg(Arg::new("page").long("page").env(EMPTY).default_value("none"));
        let page = |command: Command| {
            let matches = command.try_get_matches_from(["serve"]).unwrap();
            matches.get_one::<String>("page").unwrap().clone()
        };
        assert_eq!(page(command()), "", "{EMPTY} should be set and empty");
        assert_eq!(page(ignore_empty_variables(command(), &[])), "none");
        assert_eq!(page(ignore_empty_variables(command(), &[EMPTY])), "");
    }
}
