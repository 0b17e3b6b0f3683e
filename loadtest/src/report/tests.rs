use std::path::PathBuf;

use super::html::Curve;
use super::*;
use crate::bundle::Bundle;
use crate::bundle::schema::sample;

fn bundle() -> Bundle {
    Bundle { folder: PathBuf::new(), run: sample(), slow: None }
}

#[test]
fn times_have_about_three_digits() {
    let cases = [
        (0.4, "0 µs"),
        (830.2, "830 µs"),
        (1234.0, "1.23 ms"),
        (12_345.0, "12.3 ms"),
        (123_456.0, "123 ms"),
        (1_234_567.0, "1.23 s"),
        (12_345_678.0, "12.3 s"),
    ];
    for (us, text) in cases {
        assert_eq!(time(us), text);
    }
}

#[test]
fn nearly_all_is_not_all_and_hardly_any_is_not_none() {
    assert_eq!(percent(1.0), "100.0 %");
    assert_eq!(percent(0.99999), "99.9 %");
    assert_eq!(percent(0.0), "0.0 %");
    assert_eq!(percent(0.00001), "0.1 %");
    assert_eq!(percent(0.4321), "43.2 %");
}

#[test]
fn the_text_report_has_every_part() {
    let text = text(&bundle());
    for part in [
        "GET /search              2     2         1      1       0     1  1.00 ms  2.00 ms  3.00 ms  4.00 ms  5.00 ms",
        "cache    GET /get/{key}  server      2       0  1.00 ms",
        "api_gateway_1 3",
        "1 hits, 1 misses: 50.0 % hits",
        "1 accepted, 1 notified, 0 duplicate, 0 lost; commit to notified p50 1.00 ms",
        "8 traces expected, 7 complete (87.5 %); sampled out 0, dropped by exporter 0, evicted 0, orphaned 0, missing 1",
        "WHERE THE TIME WENT at p99 of all requests, 3.00 ms (1 traces)",
        "wrong GET /search: expected <b>Alice</b> (trace 00000000000000000000000000000005)",
        "VALIDITY   valid",
        "MISSED  (3.000)",
        "FAILED     1 wrong, 0 failed, 0 bookings lost, 0 of 1 SLOs met",
    ] {
        assert!(text.contains(part), "{part}\nis missing from\n{text}");
    }
    let bar = text.lines().find(|line| line.trim_start().starts_with("database")).unwrap();
    assert!(bar.ends_with(&format!("75.0 %  2.25 ms  {}", "█".repeat(30))), "{bar}");
}

#[test]
fn the_html_report_needs_nothing_else_and_escapes_what_services_say() {
    let curve = Curve { name: "GET /search", points: vec![(1.0, 1.0), (2.0, 2.0)] };
    let page = html(&bundle(), &[curve]);
    assert!(page.contains("expected &lt;b&gt;Alice&lt;/b&gt;") && !page.contains("<b>Alice"));
    for external in ["<script src", "<link", "<img", "@import"] {
        assert!(!page.split("<h1>").last().unwrap().contains(external), "{external}");
        assert!(!page.split("<script").next().unwrap().contains(external), "{external}");
    }
    assert!(page.contains("Plotly.newPlot(\"percentiles\"") && page.contains("Plotly.newPlot(\"blame\""));
    assert!(!page.contains("MathJax.loader"), "MathJax is two megabytes for nothing");
}
