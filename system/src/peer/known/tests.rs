use super::*;

fn urls(text: &str) -> Vec<BaseUrl> {
    text.split(' ').map(|url| url.parse().unwrap()).collect()
}

fn found(addresses: &[&str]) -> Option<Vec<SocketAddr>> {
    Some(addresses.iter().map(|address| address.parse().unwrap()).collect())
}

fn addresses(known: &Known) -> Vec<String> {
    known.addresses().iter().map(ToString::to_string).collect()
}

#[test]
fn the_addresses_of_a_name_are_in_a_fixed_order_and_used_once() {
    let mut known = Known::default();
    let urls = urls("http://b:1 http://a:1");
    known.update(&urls, &[found(&["10.0.0.3:1", "10.0.0.2:1"]), found(&["10.0.0.2:1", "10.0.0.1:1"])]);
    assert_eq!(addresses(&known), ["10.0.0.2:1", "10.0.0.3:1", "10.0.0.1:1"]);
}

#[test]
fn an_address_that_stays_keeps_its_health_and_one_that_is_gone_leaves() {
    let mut known = Known::default();
    let urls = urls("http://queue:8013");
    known.update(&urls, &[found(&["10.0.0.1:8013", "10.0.0.2:8013"])]);
    known.endpoints[1].probed(false);
    known.update(&urls, &[found(&["10.0.0.3:8013", "10.0.0.2:8013"])]);
    assert_eq!(addresses(&known), ["10.0.0.2:8013", "10.0.0.3:8013"]);
    assert!(!known.endpoints[0].is_up() && known.endpoints[1].is_up());
}

#[test]
fn a_name_that_does_not_resolve_keeps_its_addresses() {
    let mut known = Known::default();
    let urls = urls("http://queue:1 http://other:2");
    known.update(&urls, &[found(&["10.0.0.1:1"]), None]);
    assert_eq!(addresses(&known), ["10.0.0.1:1"]);
    known.update(&urls, &[None, found(&["10.0.0.9:2"])]);
    assert_eq!(addresses(&known), ["10.0.0.1:1", "10.0.0.9:2"]);
}
