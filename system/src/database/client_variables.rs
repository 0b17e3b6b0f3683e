//! Variables of PostgreSQL's clients (`PGSSLMODE`, `PGOPTIONS` …), which sqlx applies to each connection beside the URL.

use crate::app::Error;
use crate::settings;

/// The variables that sqlx reads. Only their names are used, to explain a failed connection.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
#[allow(missing_docs, reason = "each is named like its variable")]
pub struct ClientVariables {
    #[arg(long, hide = true, env = "PGOPTIONS", hide_env_values = true, value_parser = is_set)]
    pgoptions: Option<IsSet>,
    #[arg(long, hide = true, env = "PGSSLMODE", hide_env_values = true, value_parser = is_set)]
    pgsslmode: Option<IsSet>,
    #[arg(long, hide = true, env = "PGSSLROOTCERT", hide_env_values = true, value_parser = is_set)]
    pgsslrootcert: Option<IsSet>,
    #[arg(long, hide = true, env = "PGSSLCERT", hide_env_values = true, value_parser = is_set)]
    pgsslcert: Option<IsSet>,
    #[arg(long, hide = true, env = "PGSSLKEY", hide_env_values = true, value_parser = is_set)]
    pgsslkey: Option<IsSet>,
    #[arg(long, hide = true, env = "PGHOST", hide_env_values = true, value_parser = is_set)]
    pghost: Option<IsSet>,
    #[arg(long, hide = true, env = "PGHOSTADDR", hide_env_values = true, value_parser = is_set)]
    pghostaddr: Option<IsSet>,
    #[arg(long, hide = true, env = "PGPORT", hide_env_values = true, value_parser = is_set)]
    pgport: Option<IsSet>,
    #[arg(long, hide = true, env = "PGUSER", hide_env_values = true, value_parser = is_set)]
    pguser: Option<IsSet>,
    #[arg(long, hide = true, env = "PGPASSWORD", hide_env_values = true, value_parser = is_set)]
    pgpassword: Option<IsSet>,
    #[arg(long, hide = true, env = "PGPASSFILE", hide_env_values = true, value_parser = is_set)]
    pgpassfile: Option<IsSet>,
    #[arg(long, hide = true, env = "PGDATABASE", hide_env_values = true, value_parser = is_set)]
    pgdatabase: Option<IsSet>,
}

/// A variable is set. Its value is not kept, because it may be a secret.
#[derive(Debug, Clone, Copy)]
struct IsSet;

impl ClientVariables {
    /// Returns the error of a connection to `url`, with the names of the variables that changed the connection.
    #[must_use]
    pub fn explain(&self, url: &str, error: Error) -> Error {
        let mut names = self.applied_to(url);
        names.retain(|name| matters_for(&error, name));
        match error {
            Error::Database(_) | Error::Migrate(_) if !names.is_empty() => {
                settings::Error::ClientVariables { names: names.join(" and "), source: Box::new(error) }
                    .into()
            }
            error => error,
        }
    }

    /// Returns the names of the variables that are set and that no part of `url` overrides.
    fn applied_to(&self, url: &str) -> Vec<&'static str> {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let (location, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = location.split_once('/').unwrap_or((location, ""));
        let (user, server) = authority.rsplit_once('@').unwrap_or(("", authority));
        let has = |names: &[&str]| {
            query.split('&').any(|pair| names.contains(&pair.split('=').next().unwrap_or("")))
        };
        let has_host = !server.is_empty() && !server.starts_with(':') || has(&["host", "hostaddr"]);
        let has_port = server.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let has_password = user.contains(':') || has(&["password"]);
        let variables = [
            ("PGOPTIONS", &self.pgoptions, false),
            ("PGSSLMODE", &self.pgsslmode, has(&["sslmode", "ssl-mode"])),
            ("PGSSLROOTCERT", &self.pgsslrootcert, has(&["sslrootcert", "ssl-root-cert", "ssl-ca"])),
            ("PGSSLCERT", &self.pgsslcert, has(&["sslcert", "ssl-cert"])),
            ("PGSSLKEY", &self.pgsslkey, has(&["sslkey", "ssl-key"])),
            ("PGHOST", &self.pghost, has_host),
            ("PGHOSTADDR", &self.pghostaddr, has_host),
            ("PGPORT", &self.pgport, has_port || has(&["port"])),
            ("PGUSER", &self.pguser, !user.is_empty() || has(&["user"])),
            ("PGPASSWORD", &self.pgpassword, has_password),
            ("PGPASSFILE", &self.pgpassfile, has_password),
            ("PGDATABASE", &self.pgdatabase, !database.is_empty() || has(&["dbname"])),
        ];
        let applied = variables.into_iter().filter(|(_, value, overridden)| value.is_some() && !overridden);
        applied.map(|(name, ..)| name).collect()
    }
}

/// Returns whether the variable can be a reason for the error. A server that cannot be reached has not seen the others, and
/// a password, which deployments give in PGPASSFILE, matters only to a server that rejected it (SQLSTATE class 28).
fn matters_for(error: &Error, variable: &str) -> bool {
    let code = match error {
        Error::Database(error) => error.as_database_error().and_then(|error| error.code()),
        _ => None,
    };
    match (error, variable) {
        (Error::Database(sqlx::Error::Io(_)), _) => matches!(variable, "PGHOST" | "PGHOSTADDR" | "PGPORT"),
        (_, "PGPASSWORD" | "PGPASSFILE") => code.is_some_and(|code| code.starts_with("28")),
        _ => true,
    }
}

fn is_set(_: &str) -> Result<IsSet, std::convert::Infallible> {
    Ok(IsSet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_variables_that_the_url_does_not_override() {
        let variables = ClientVariables {
            pgoptions: Some(IsSet),
            pgsslmode: Some(IsSet),
            pghost: Some(IsSet),
            pgport: Some(IsSet),
            pguser: Some(IsSet),
            pgpassword: Some(IsSet),
            pgdatabase: Some(IsSet),
            ..ClientVariables::default()
        };
        let complete = "postgres://user:password@host:5432/database";
        assert_eq!(variables.applied_to(complete), ["PGOPTIONS", "PGSSLMODE"]);
        assert_eq!(variables.applied_to(&format!("{complete}?sslmode=disable")), ["PGOPTIONS"]);
        assert_eq!(
            variables.applied_to("postgres://user@host?sslmode=disable"),
            ["PGOPTIONS", "PGPORT", "PGPASSWORD", "PGDATABASE"]
        );
        assert_eq!(ClientVariables::default().applied_to("postgres://"), [""; 0]);
    }

    #[test]
    fn explains_a_failed_connection_as_a_usage_error() {
        let variables = ClientVariables { pgsslmode: Some(IsSet), ..ClientVariables::default() };
        let failed = || Error::Database(sqlx::Error::PoolTimedOut);
        let error = variables.explain("postgres://user@host/", failed());
        assert!(error.is_usage() && error.to_string().contains("PGSSLMODE"), "{error}");
        let error = ClientVariables::default().explain("postgres://user@host/", failed());
        assert!(!error.is_usage(), "{error}");
    }

    #[test]
    fn explains_no_error_by_a_variable_that_cannot_be_its_reason() {
        let variables =
            ClientVariables { pgsslmode: Some(IsSet), pgpassfile: Some(IsSet), ..ClientVariables::default() };
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = variables.explain("postgres://user@host/", Error::Database(refused.into()));
        assert!(!error.is_usage(), "{error}");
        let error = variables.explain("postgres://user@host/", Error::Database(sqlx::Error::PoolTimedOut));
        assert!(!error.to_string().contains("PGPASSFILE"), "{error}");
    }
}
