//! Two loads at once against one system: each reports only its own spans, and the other as other load.

use serde_json::Value;

use crate::harness::{Load, Stack, sum};

/// Requests of the schedule, and the number that entered the balancer according to the hops.
fn sent_and_entered(run: &Value) -> (u64, u64) {
    let warm_up = run["requests"].as_array().unwrap().iter().find(|row| row["phase"] == "warm-up").unwrap();
    let at_balancer = run["hops"].as_array().unwrap().iter();
    let at_balancer = at_balancer.filter(|hop| hop["service"] == "load_balancer" && hop["kind"] == "server");
    let entered = at_balancer.map(|hop| hop["count"].as_u64().unwrap()).sum();
    (sum(run, "sent") - warm_up["sent"].as_u64().unwrap(), entered)
}

#[test]
fn each_of_two_loads_reports_its_own_spans_and_that_there_was_another() {
    let stack = Stack::start();
    let load = |rate| Load::of(&stack, &["--rate", rate, "--duration", "6s", "--seed", "7"]).start();
    let loads = [load("20"), load("30")];
    for (loaded, requests) in loads.map(|load| load.finish()).into_iter().zip([120, 180]) {
        assert_eq!(loaded.code(), Some(0), "{}", loaded.text());
        let run = loaded.run();
        assert_eq!(sent_and_entered(&run), (requests, requests), "{}", loaded.text());
        let ledger = &run["ledger"];
        assert_eq!(ledger["complete"], ledger["expected"], "{ledger}");
        let validity = &run["validity"];
        assert!(validity["other_load"].as_u64() > Some(50), "{validity}");
        assert!(validity["verdict"].as_str().unwrap().contains("other load was present"), "{validity}");
    }
}
