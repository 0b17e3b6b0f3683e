//! Usage and configuration errors: exit code 2 and one message that names the argument or the setting.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use crate::harness::{run, workbench};

#[test]
fn rejects_invalid_settings() {
    for (role, variable, value, message) in [
        ("gateway", "JWT_SECRET", "", "JWT_SECRET is not set"),
        ("gateway", "JWT_SECRET", "short", "JWT_SECRET is invalid: must have at least 32 bytes"),
        ("gateway", "JWT_SECRET_FILE", "/nonexistent", "JWT_SECRET_FILE=/nonexistent: cannot read the file"),
        (
            "queue",
            "QUEUE_CAPACITY",
            "0",
            "must be a number from 1 to 100000000\n\n  tip: QUEUE_CAPACITY sets --queue-capacity",
        ),
        ("cache", "DRAIN_MS", "600001", "must be a number of milliseconds from 0 to 600000"),
        ("balancer", "CORS_ORIGINS", "*", "expected origins such as http://localhost:8080"),
        (
            "balancer",
            "GATEWAY_URLS",
            "http://user:password@gateway:8001",
            "--gateway-urls <URLS>': expected a URL",
        ),
        (
            "search",
            "DATABASE_URL",
            "mysql://user@host/database",
            "DATABASE_URL is invalid: must be a URL such as",
        ),
        ("gateway", "CACHE_URL", "http://", "--cache-url <URLS>': expected a URL such as http://HOST:PORT"),
        ("cache", "LISTEN", "nonsense", "--listen <HOST:PORT>': expected HOST:PORT"),
        ("cache", "RUST_LOG", "=", "--log-filter <FILTER>'"),
        ("cache", "OTEL_TRACES_SAMPLER", "banana", "possible values: always_on"),
        ("cache", "OTEL_TRACES_SAMPLER_ARG", "two", "--traces-sampler-arg <RATIO>'"),
        ("cache", "OTEL_EXPORTER_OTLP_ENDPOINT", "nonsense", "--otlp-endpoint <URL>'"),
        ("balancer", "GATEWAY_URLS", "nonsense", "--gateway-urls <URLS>': expected a URL"),
        ("search", "DATABASE_URL", "", "DATABASE_URL is not set"),
        (
            "cache",
            "CACHE_BACKEND",
            "http://:hunter2@redis",
            "CACHE_BACKEND is invalid: must be `memory` or a URL",
        ),
        ("search", "DATABASE_URL", "nonsense", "DATABASE_URL is invalid: must be a URL such as"),
    ] {
        refused(role, variable, value, message);
    }
}

#[test]
fn rejects_values_out_of_range_unusable_paths_and_renamed_variables() {
    for (role, variable, value, message) in [
        ("collector", "COLLECTOR_JAEGER_UI", "/nonexistent", "/nonexistent/index.html is not readable"),
        (
            "collector",
            "COLLECTOR_BASE_PATH",
            "nonsense",
            "--base-path <PATH>': expected a path such as /jaeger",
        ),
        ("collector", "COLLECTOR_STORE_MAX_BYTES", "1", "must be a number from 65536 to 1099511627776"),
        ("collector", "COLLECTOR_MAX_CONNECTIONS", "1000001", "must be a number from 1 to 1000000"),
        (
            "collector",
            "LOG_FILE",
            "/nonexistent/log",
            "/nonexistent/log (LOG_FILE): no such file or directory",
        ),
        ("cache", "CACHE_MAX_BYTES", "0", "must be a number from 65536 to 1099511627776"),
        ("cache", "STOP_WITH_STDIN", "maybe", "'maybe' for '--stop-with-stdin': value was not a boolean"),
        ("cache", "LOG_FILE", "/nonexistent/log", "/nonexistent/log (LOG_FILE): no such file or directory"),
        ("cache", "LOG_FILE_MAX_BYTES", "1", "must be a number from 65536 to 1099511627776"),
        ("cache", "OTEL_BSP_MAX_QUEUE_SIZE", "10000001", "must be a number from 1 to 10000000"),
        ("frontend", "API_PORT", "0", "0 is not in 1..=65535"),
        ("collector", "JAEGER_UI", "/nonexistent", "JAEGER_UI was renamed: set COLLECTOR_JAEGER_UI instead"),
        ("collector", "BASE_PATH", "/jaeger", "BASE_PATH was renamed: set COLLECTOR_BASE_PATH instead"),
        ("collector", "STORE_MAX_BYTES", "1", "STORE_MAX_BYTES was renamed: set COLLECTOR_STORE_MAX_BYTES"),
        ("notification", "NOTIFICATION_CONCURRENCY", "0", "0 is not in 1..=1000"),
    ] {
        refused(role, variable, value, message);
    }
}

/// Asserts that the role does not start with this value of a variable.
fn refused(role: &str, variable: &str, value: &str, message: &str) {
    let mut serve = workbench();
    serve
        .args(["serve", role])
        .env("LISTEN", "127.0.0.1:0")
        .env("OTEL_TRACES_SAMPLER", "traceidratio")
        .env("JWT_SECRET", "x".repeat(32));
    run(serve.env(variable, value)).failed(2, message);
}

#[test]
fn a_role_ignores_the_settings_of_others() {
    let mut serve = workbench();
    serve.args(["serve", "cache", "--stop-with-stdin"]).stdin(Stdio::null());
    serve.env("LISTEN", "127.0.0.1:0").env("QUEUE_CAPACITY", "none").env("CACHE_MAX_BYTES", "");
    run(&mut serve).succeeded();
}

#[test]
fn errors_do_not_contain_secrets() {
    for (variable, value) in [("JWT_SECRET", "hunter2"), ("DATABASE_URL", "postgres://host/?sslmode=hunter2")]
    {
        for role in ["gateway", "search"] {
            let mut serve = workbench();
            serve.args(["serve", role]).env("LISTEN", "127.0.0.1:0").env(variable, value);
            let finished = run(&mut serve);
            assert_eq!(finished.code(), Some(2), "{role} with {variable}");
            assert!(!finished.text().contains("hunter2"), "{role} with {variable}");
        }
    }
}

/// Variables of the addresses that a collector listens on.
const LISTEN_VARIABLES: [&str; 4] =
    ["LISTEN", "OTLP_GRPC_LISTEN", "OTLP_HTTP_LISTEN", "COLLECTOR_QUERY_GRPC_LISTEN"];

#[test]
fn names_the_setting_of_an_address_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for variable in LISTEN_VARIABLES {
        let mut serve = workbench();
        serve.args(["serve", "collector"]);
        for other in LISTEN_VARIABLES {
            serve.env(other, if other == variable { &address } else { "127.0.0.1:0" });
        }
        run(&mut serve).failed(2, &format!("cannot listen on {variable}={address}: address already in use"));
    }
}

#[test]
fn rejects_invalid_arguments() {
    for (arguments, message) in [
        (vec!["report", "/nonexistent"], "no run at /nonexistent"),
        (vec!["report", "/tmp"], "no run at /tmp: /tmp/run.json does not exist"),
        (
            vec!["serve", "collector", "--open", "/nonexistent"],
            "/nonexistent/collector.json.zst: no such file or directory",
        ),
        (
            vec!["secrets", "/nonexistent"],
            "cannot write to the folder /nonexistent: no such file or directory",
        ),
        (vec!["health", "host:port"], "host:port is not an address: expected HOST:PORT"),
        (
            vec!["traces", "export", "/nonexistent/file"],
            "cannot write /nonexistent/file: the folder /nonexistent: no such file or directory",
        ),
        (vec!["traces", "import", "/nonexistent"], "cannot read /nonexistent: no such file or directory"),
        (vec!["load", "--target", "ftp://127.0.0.1"], "expected http://HOST:PORT"),
        (
            vec!["load", "--target", "127.0.0.1:1"],
            "no system at http://127.0.0.1:1 (set the address with --target): connection refused\n",
        ),
        (
            vec!["load", "--collector", "http://me:secret@host"],
            "expected http://HOST:PORT without a user name",
        ),
        (
            vec!["traces", "export", "--collector", "127.0.0.1:1"],
            "no collector at http://127.0.0.1:1 (set the address with --collector): connection refused\n",
        ),
        (
            vec!["up", "--database-url", "nonsense"],
            "DATABASE_URL is invalid: must be a URL such as postgres://",
        ),
        (
            vec!["seed", "--database-url", "nonsense"],
            "DATABASE_URL is invalid: must be a URL such as postgres://",
        ),
        (vec!["demo", "--tutors", "1"], "1 is not in 2..=100000"),
        (vec!["demo", "--students", "100001"], "100001 is not in 1..=100000"),
        (vec!["up", "--tutors", "100001"], "100001 is not in 2..=100000"),
        (vec!["seed", "--tutors", "100001"], "100001 is not in 2..=100000"),
        (vec!["load", "--tutors", "100001"], "'100001' for '--tutors <N>': 100001 is not in 2..=100000"),
        (vec!["load", "--students", "100001"], "'100001' for '--students <N>': 100001 is not in 1..=100000"),
        (vec!["load", "--duration", "1h"], "at most 50m"),
        (vec!["load", "--otlp", "ftp://host"], "expected http://HOST:PORT"),
        (vec!["load", "--rate", "0"], "expected a positive number"),
        (vec!["load", "--rate", "1000001"], "at most 1000000"),
        (vec!["load", "--rate", "1e6", "--duration", "50m"], "3000000000 requests with"),
        (vec!["load", "--rate", "1e6", "--duration", "1s"], "of log-ins before the load"),
        (vec!["load", "--users", "100000"], "1 h 6 min of log-ins before the load"),
        (vec!["serve", "queue", "--jaeger-ui", "/ui"], "unexpected argument '--jaeger-ui'"),
        (vec!["serve", "queue", "--base-path", "/jaeger"], "unexpected argument '--base-path'"),
        (vec!["serve", "queue", "--open", "/run"], "unexpected argument '--open'"),
        (vec!["serve", "kitchen"], "unrecognized subcommand 'kitchen'"),
    ] {
        run(workbench().args(&arguments)).failed(2, message);
    }
}

#[test]
fn a_load_with_too_few_file_descriptors_does_not_start() {
    for command in ["load", "demo"] {
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit -n 20; exec \"$0\" \"$@\""]);
        shell.arg(workbench().get_program()).args([command, "--duration", "1s"]);
        let message = "the limit of 20 file descriptors is below the minimum of 64 (raise it with ulimit -n)";
        run(&mut shell).failed(2, message);
    }
}
