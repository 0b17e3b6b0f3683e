//! Usage and configuration errors: exit code 2 and one message that names the argument or the setting.

use std::net::TcpListener;

use crate::harness::{run, workbench};

#[test]
fn rejects_invalid_settings() {
    let secret = "x".repeat(32);
    for (role, variable, value, message) in [
        ("gateway", "JWT_SECRET", "", "JWT_SECRET is not set"),
        ("gateway", "JWT_SECRET", "short", "shorter than 32 bytes"),
        ("gateway", "CACHE_URL", "http://", "CACHE_URL is not usable"),
        ("cache", "LISTEN", "nonsense", "LISTEN is not usable: must be HOST:PORT"),
        ("cache", "RUST_LOG", "=", "RUST_LOG is not a valid filter"),
        ("cache", "OTEL_TRACES_SAMPLER", "banana", "must be one of always_on"),
        ("cache", "OTEL_TRACES_SAMPLER_ARG", "two", "OTEL_TRACES_SAMPLER_ARG is not usable"),
        ("cache", "OTEL_EXPORTER_OTLP_ENDPOINT", "nonsense", "must be a URL such as http://HOST:PORT"),
        ("balancer", "GATEWAY_URLS", "nonsense", "GATEWAY_URLS is not usable"),
        ("search", "DATABASE_URL", "", "DATABASE_URL is not set"),
        ("search", "DATABASE_URL", "nonsense", "DATABASE_URL is not usable"),
        ("collector", "COLLECTOR_JAEGER_UI", "/nonexistent", "/nonexistent/index.html is not readable"),
        ("collector", "COLLECTOR_BASE_PATH", "nonsense", "\"nonsense\" is not a base path"),
        ("collector", "JAEGER_UI", "/nonexistent", "JAEGER_UI was renamed: set COLLECTOR_JAEGER_UI instead"),
        ("collector", "BASE_PATH", "/jaeger", "BASE_PATH was renamed: set COLLECTOR_BASE_PATH instead"),
        ("collector", "STORE_MAX_BYTES", "1", "STORE_MAX_BYTES was renamed: set COLLECTOR_STORE_MAX_BYTES"),
        ("notification", "NOTIFICATION_CONCURRENCY", "0", "must be in 1 to 1000"),
    ] {
        let mut serve = workbench();
        serve
            .args(["serve", role])
            .env("LISTEN", "127.0.0.1:0")
            .env("OTEL_TRACES_SAMPLER", "traceidratio")
            .env("JWT_SECRET", &secret);
        run(serve.env(variable, value)).failed(2, message);
    }
}

#[test]
fn names_the_setting_of_an_address_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for variable in ["LISTEN", "OTLP_GRPC_LISTEN", "OTLP_HTTP_LISTEN"] {
        let mut serve = workbench();
        serve.args(["serve", "collector"]);
        for other in ["LISTEN", "OTLP_GRPC_LISTEN", "OTLP_HTTP_LISTEN"] {
            serve.env(other, if other == variable { &address } else { "127.0.0.1:0" });
        }
        run(&mut serve).failed(2, &format!("cannot listen on {variable}={address}: Address already in use"));
    }
}

#[test]
fn rejects_invalid_arguments() {
    for (arguments, message) in [
        (vec!["report", "/nonexistent"], "no run at /nonexistent"),
        (vec!["load", "--target", "ftp://127.0.0.1"], "no system at ftp://127.0.0.1"),
        (vec!["demo", "--tutors", "1"], "1 is not in 2.."),
        (vec!["load", "--duration", "1h"], "at most 50 minutes"),
        (vec!["load", "--otlp", "nonsense"], "an OTLP/gRPC address is http://HOST:PORT"),
        (vec!["load", "--rate", "0"], "a rate is a number"),
        (vec!["serve", "queue", "--jaeger-ui", "/ui"], "only the collector has a --jaeger-ui"),
        (vec!["serve", "queue", "--base-path", "/jaeger"], "only the collector has a --base-path"),
        (vec!["serve", "queue", "--open", "/run"], "only the collector opens a run"),
        (vec!["serve", "kitchen"], "invalid value 'kitchen'"),
    ] {
        run(workbench().args(&arguments)).failed(2, message);
    }
}
