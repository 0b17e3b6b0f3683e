//! The metrics of every role, as one snapshot: names, types, help texts and label names, without values.

use crate::harness::{Api, Stack, eventually, get_blocking, http};

/// The families of a metrics page: comments unchanged, then each series once, with the names of its labels.
fn families(page: &str) -> Vec<String> {
    let mut families: Vec<Vec<String>> = Vec::new();
    for line in page.lines().filter(|line| *line != "# EOF") {
        if line.starts_with("# HELP") {
            families.push(Vec::new());
        }
        let family = families.last_mut().expect("a page begins with # HELP");
        let line = if line.starts_with('#') { line.to_owned() } else { without_values(line) };
        if !family.contains(&line) {
            family.push(line);
        }
    }
    families.iter().map(|lines| lines.join("\n")).collect()
}

/// A series as `name{label,label}`.
fn without_values(series: &str) -> String {
    let Some((name, rest)) = series.split_once('{') else {
        return series.split(' ').next().unwrap_or_default().to_owned();
    };
    let labels = rest.rsplit_once('}').map_or(rest, |(labels, _)| labels);
    let names: Vec<&str> = labels.split("\",").filter_map(|label| Some(label.split_once('=')?.0)).collect();
    format!("{name}{{{}}}", names.join(","))
}

/// Makes every role serve a request.
async fn use_every_role(stack: &Stack) {
    let api = Api::log_in(stack).await;
    http().get(&stack.addresses.frontend).send().await.unwrap();
    api.request(reqwest::Method::GET, "/search?subject=Math").send().await.unwrap();
    api.book(r#"{"student_id":1,"tutor_id":1}"#).send().await.unwrap();
    eventually("the notification was sent", || {
        !stack.log_lines_with("notification_service", "notification sent").is_empty()
    });
    http().get(format!("{}/api/services", stack.addresses.collector)).send().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_match_the_snapshot() {
    let stack = Stack::start_small();
    use_every_role(&stack).await;
    let addresses = &stack.addresses;
    // Each family with the roles that have it.
    let mut listing: Vec<(String, Vec<&str>)> = Vec::new();
    for (role, url) in [
        ("frontend", &addresses.frontend),
        ("balancer", &addresses.balancer),
        ("gateway", &addresses.gateways[0]),
        ("cache", &addresses.cache),
        ("search", &addresses.search),
        ("booking", &addresses.booking),
        ("queue", &addresses.queue),
        ("notification", &addresses.notification),
        ("collector", &addresses.collector),
    ] {
        let page = get_blocking(&format!("{url}/metrics")).expect("a metrics page");
        for family in families(&page) {
            match listing.iter_mut().find(|(known, _)| *known == family) {
                Some((_, roles)) => roles.push(role),
                None => listing.push((family, vec![role])),
            }
        }
    }
    let blocks: Vec<String> =
        listing.iter().map(|(family, roles)| format!("{}:\n{family}\n", roles.join(", "))).collect();
    insta::assert_snapshot!("metrics", blocks.join("\n"));
}
