use super::*;

fn read(pairs: &'static [(&'static str, &'static str)]) -> Result<Config, ConfigError> {
    let find = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    Config::read(Service::Gateway, &Env(Box::new(find)))
}

fn environment(name: &'static str, value: &'static str) -> Env {
    Env(Box::new(move |wanted| (wanted == name).then(|| value.to_owned())))
}

#[test]
fn an_empty_environment_gives_the_table_of_ports() {
    let config = read(&[]).unwrap();
    assert_eq!(config.listen, "127.0.0.1:8001");
    assert_eq!(config.peers.queue, "http://127.0.0.1:8013");
    assert_eq!(config.instance, "api_gateway");
}

#[test]
fn what_does_not_parse_is_named() {
    let error = read(&[("REQUEST_TIMEOUT_MS", "soon")]).unwrap_err().to_string();
    assert!(error.starts_with("REQUEST_TIMEOUT_MS is not usable"), "{error}");
    for (name, value) in [
        ("CACHE_URL", "localhost:8010"),
        ("CACHE_URL", "http://"),
        ("GATEWAY_URLS", "http://127.0.0.1:8001,nonsense"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "nonsense"),
        ("OTEL_TRACES_SAMPLER", "banana"),
        ("LISTEN", "nonsense"),
        ("NOTIFICATION_CONCURRENCY", "1001"),
        ("NOTIFICATION_DELAY_MS", "30000"),
        ("REQUEST_TIMEOUT_MS", "500"),
        ("QUEUE_CAPACITY", "0"),
    ] {
        let error = Config::read(Service::Gateway, &environment(name, value)).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{name} is not usable")), "{name}={value}: {error}");
    }
}

#[test]
fn a_short_or_absent_secret_is_refused_without_showing_it() {
    assert!(read(&[]).unwrap().jwt_secret().is_err());
    let error = read(&[("JWT_SECRET", "hunter2")]).unwrap().jwt_secret().unwrap_err().to_string();
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn an_empty_endpoint_turns_the_export_off() {
    let config = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]).unwrap();
    assert_eq!(config.telemetry(Service::Gateway).otlp_endpoint, Endpoint::Off);
}
