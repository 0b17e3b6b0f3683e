use clap::{CommandFactory as _, Parser};

use super::*;

#[derive(Debug, Parser)]
struct Serve {
    #[command(subcommand)]
    role: Settings,
}

/// The variables that the help text of `serve ROLE` lists, telemetry aside.
fn variables(role: Role) -> Vec<String> {
    let command = Serve::command();
    let command = command.find_subcommand(role.command()).unwrap();
    let names =
        command.get_arguments().filter(|arg| !arg.is_hide_set()).filter_map(|arg| arg.get_env()?.to_str());
    let telemetry = |name: &str| {
        name.starts_with("OTEL_") || ["RUST_LOG", "LOG_FILE", "LOG_FILE_MAX_BYTES"].contains(&name)
    };
    names.filter(|name| !telemetry(name)).map(str::to_owned).collect()
}

#[test]
fn a_role_reads_only_its_own_variables() {
    const PROCESS: [&str; 6] = [
        "LISTEN",
        "SERVICE_INSTANCE_ID",
        "REQUEST_TIMEOUT_MS",
        "DRAIN_MS",
        "MAX_CONNECTIONS",
        "STOP_WITH_STDIN",
    ];
    let database = ["DATABASE_URL", "DATABASE_URL_FILE"];
    for (role, own) in [
        (Role::Frontend, vec!["API_PORT"]),
        (
            Role::Balancer,
            vec![
                "GATEWAY_URLS",
                "CORS_ORIGINS",
                "TRUST_TRACEPARENT",
                "TRUST_TRACEPARENT_SECRET",
                "TRUST_TRACEPARENT_SECRET_FILE",
            ],
        ),
        (
            Role::Gateway,
            vec![
                "JWT_SECRET",
                "JWT_SECRET_FILE",
                "CACHE_URL",
                "SEARCH_URL",
                "BOOKING_URL",
                "SEARCH_CACHE_TTL_SECONDS",
                "SLOTS_CACHE_TTL_SECONDS",
                "CACHE_TIMEOUT_MS",
            ],
        ),
        (Role::Cache, vec!["CACHE_BACKEND", "REDIS_TIMEOUT_MS", "CACHE_MAX_BYTES"]),
        (Role::Search, database.to_vec()),
        (
            Role::Booking,
            [
                &["QUEUE_URL", "CACHE_URL", "OUTBOX_POLL_MS", "OUTBOX_REPUBLISH_MS", "NOTIFICATION_LEASE_MS"],
                &database[..],
            ]
            .concat(),
        ),
        (Role::Queue, vec!["QUEUE_CAPACITY", "QUEUE_MAX_BYTES", "QUEUE_MAX_ATTEMPTS", "QUEUE_BACKEND"]),
        (
            Role::Notification,
            [
                &["QUEUE_URL", "NOTIFICATION_DELAY_MS", "NOTIFICATION_CONCURRENCY", "NOTIFICATION_LEASE_MS"],
                &database[..],
            ]
            .concat(),
        ),
    ] {
        assert_eq!(variables(role), [&own[..], &PROCESS].concat(), "{role}");
    }
}

#[test]
fn a_flag_is_named_as_its_variable() {
    let command = Serve::command();
    for role in command.get_subcommands() {
        for arg in role.get_arguments() {
            let (Some(long), Some(variable)) = (arg.get_long(), arg.get_env()) else { continue };
            let variable = variable.to_str().unwrap();
            if !variable.starts_with("OTEL_") && variable != "RUST_LOG" {
                assert_eq!(long.replace('-', "_").to_uppercase(), variable, "{}", role.get_name());
            }
        }
    }
}

#[test]
fn defaults_are_those_of_the_table_of_roles() {
    for role in Role::ALL.into_iter().filter(|role| *role != Role::Collector) {
        let command = Serve::command().mut_subcommand(role.command(), |command| {
            command.mut_args(|arg| arg.env(clap::builder::Resettable::Reset))
        });
        let matches = command.try_get_matches_from(["serve", role.command()]).unwrap();
        let settings = <Settings as clap::FromArgMatches>::from_arg_matches(&matches).unwrap();
        assert_eq!(settings.role(), role);
        assert_eq!(settings.process().listen, role.address());
        let instance = &settings.process().service_instance_id;
        assert!(instance.len() > 1 && instance.ends_with(&format!("-{}", std::process::id())), "{instance}");
    }
}

#[test]
fn values_out_of_range_are_rejected() {
    for (role, flag, value) in [
        ("gateway", "--cache-url", "localhost:8010"),
        ("gateway", "--cache-url", "http://"),
        ("gateway", "--search-cache-ttl-seconds", "-1"),
        ("gateway", "--request-timeout-ms", "500"),
        ("gateway", "--request-timeout-ms", "ten"),
        ("balancer", "--gateway-urls", "http://127.0.0.1:8001,nonsense"),
        ("balancer", "--trust-traceparent", "10.0.0.0/33"),
        ("balancer", "--trust-traceparent", "example.com"),
        ("cache", "--max-connections", "0"),
        ("cache", "--listen", "nonsense"),
        ("cache", "--drain-ms", "1.5"),
        ("queue", "--queue-capacity", "0"),
        ("notification", "--notification-concurrency", "0"),
        ("notification", "--notification-concurrency", "1001"),
        ("notification", "--notification-delay-ms", "30000"),
        ("cache", "--queue-capacity", "1"),
    ] {
        let argument = format!("{flag}={value}");
        let error = Serve::try_parse_from(["serve", role, &argument]).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{role} {argument}");
        assert!(error.to_string().contains(flag), "{error}");
    }
}

#[test]
fn help_does_not_show_the_value_of_a_secret() {
    for role in Serve::command().get_subcommands() {
        for arg in role.get_arguments() {
            let names_a_file = arg.get_id().as_str().ends_with("_file");
            let is_secret = ["jwt_secret", "database_url", "trust_traceparent_secret"]
                .iter()
                .any(|id| arg.get_id().as_str().starts_with(id));
            assert!(!is_secret || names_a_file || arg.is_hide_env_values_set(), "{arg}");
        }
    }
}
