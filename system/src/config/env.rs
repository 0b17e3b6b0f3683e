//! Variables as text, and the kinds of values that they stand for.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum as _;
use http::uri::Authority;
use telemetry::{Sampler, Sampling};

use super::ConfigError;

/// The environment, behind a function so that tests need not change the process's own.
pub(super) struct Env(pub(super) Lookup);

pub(super) type Lookup = Box<dyn Fn(&str) -> Option<String>>;

impl Env {
    pub(super) fn of_process() -> Self {
        #[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
        Self(Box::new(|name| std::env::var(name).ok()))
    }

    pub(super) fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    /// A secret may stand in a file, named by `NAME_FILE`, as container secrets do.
    pub(super) fn secret(&self, name: &'static str) -> Result<Option<String>, ConfigError> {
        let Some(path) = self.get(&format!("{name}_FILE")) else { return Ok(self.get(name)) };
        match std::fs::read_to_string(&path) {
            Ok(secret) => Ok(Some(secret.trim_end().to_owned())),
            Err(error) => Err(invalid(name, format!("{path}: {error}"))),
        }
    }

    pub(super) fn text(&self, name: &str, default: &str) -> String {
        self.get(name).unwrap_or_else(|| default.to_owned())
    }

    /// Set but empty differs from unset here: it turns the thing off.
    pub(super) fn optional_url(
        &self,
        name: &'static str,
        default: &str,
    ) -> Result<Option<String>, ConfigError> {
        let url = (self.0)(name).unwrap_or_else(|| default.to_owned());
        if url.is_empty() { Ok(None) } else { base_url(name, &url).map(Some) }
    }

    pub(super) fn sampling(&self) -> Result<Sampling, ConfigError> {
        const NAME: &str = "OTEL_TRACES_SAMPLER";
        let name = self.get(NAME).unwrap_or_default();
        let traces_sampler = Sampler::from_str(&name, false).map_err(|error| invalid(NAME, error))?;
        let traces_sampler_arg = self.within("OTEL_TRACES_SAMPLER_ARG", 1.0, 0.0..=1.0)?;
        Ok(Sampling { traces_sampler, traces_sampler_arg })
    }

    /// `host:port`.
    pub(super) fn address(&self, name: &'static str, default: &str) -> Result<String, ConfigError> {
        let address = self.text(name, default);
        match address.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(address),
            _ => Err(invalid(name, format!("must be HOST:PORT, such as {default}"))),
        }
    }

    pub(super) fn list(&self, name: &str, default: &str) -> Vec<String> {
        let list = self.text(name, default);
        list.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
    }

    pub(super) fn number<T: FromStr<Err: Display>>(
        &self,
        name: &'static str,
        default: T,
    ) -> Result<T, ConfigError> {
        self.get(name).map_or(Ok(default), |text| text.trim().parse().map_err(|error| invalid(name, error)))
    }

    pub(super) fn positive(&self, name: &'static str, default: usize) -> Result<usize, ConfigError> {
        match self.number(name, default)? {
            0 => Err(invalid(name, "must be at least 1")),
            number => Ok(number),
        }
    }

    pub(super) fn millis(&self, name: &'static str, default: u64) -> Result<Duration, ConfigError> {
        self.number(name, default).map(Duration::from_millis)
    }

    pub(super) fn within<T: FromStr<Err: Display> + PartialOrd + Display>(
        &self,
        name: &'static str,
        default: T,
        range: RangeInclusive<T>,
    ) -> Result<T, ConfigError> {
        let number = self.number(name, default)?;
        if range.contains(&number) {
            Ok(number)
        } else {
            Err(invalid(name, format!("must be in {} to {}", range.start(), range.end())))
        }
    }

    pub(super) fn url(&self, name: &'static str, default: &str) -> Result<String, ConfigError> {
        base_url(name, &self.text(name, default))
    }

    pub(super) fn urls(&self, name: &'static str, default: &str) -> Result<Vec<String>, ConfigError> {
        self.list(name, default).iter().map(|url| base_url(name, url)).collect()
    }
}

/// `http://host:port`, without a slash at its end.
fn base_url(name: &'static str, url: &str) -> Result<String, ConfigError> {
    let authority = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/').parse::<Authority>());
    match authority {
        Some(Ok(authority)) => Ok(format!("http://{authority}")),
        _ => Err(invalid(name, "must be a URL such as http://HOST:PORT")),
    }
}

pub(super) fn invalid(name: &'static str, reason: impl Display) -> ConfigError {
    ConfigError::Invalid { name, reason: reason.to_string() }
}
