//! Lists: pages, filters, orders and columns.

use serde_json::json;

use super::arena::{Arena, all};

#[test]
fn a_list_comes_in_pages() {
    let arena = Arena::start();
    let guest = arena.guest();
    for number in 0..5 {
        guest.put(&format!("queues/%2F/hare{number}"), "{}");
        guest.put(&format!("queues/%2F/fox{number}"), "{}");
    }
    let page = guest.see("queues?page=2&page_size=2&name=HARE");
    assert_eq!(all(&page["items"], "name"), ["hare2", "hare3"]);
    for (field, value) in [
        ("filtered_count", 5),
        ("item_count", 2),
        ("page", 2),
        ("page_count", 3),
        ("page_size", 2),
        ("total_count", 10),
    ] {
        assert_eq!(page[field], value, "{field}");
    }
    let page = guest.see("queues/%2F?page=1&name=%5E(hare%7Cfox)1%24&use_regex=true&columns=name");
    assert_eq!(page["items"], json!([{"name": "fox1"}, {"name": "hare1"}]));
    assert_eq!(page["page_size"], 100);
    guest.get("queues?page=9").refused(
        400,
        "page_out_of_range",
        "Page out of range, page: 9 page size: 100, len: 10",
    );
    guest.get("queues?page=0").refused(
        400,
        "invalid_pagination_parameters",
        "Invalid pagination parameters: page number 0, page size undefined",
    );
    let reason = "Pagination parameters are invalid";
    guest.get("queues?page=x").refused(400, "bad_request", reason);
}

#[test]
fn a_list_is_sorted_and_cut_into_columns() {
    let arena = Arena::start();
    let guest = arena.guest();
    for name in ["b", "a", "c"] {
        guest.put(&format!("queues/%2F/{name}"), "{}");
    }
    let body =
        r#"{"properties": {}, "routing_key": "b", "payload": "", "payload_encoding": "string"}"#;
    guest.post("exchanges/%2F/amq.default/publish", body);
    assert_eq!(all(&guest.see("queues"), "name"), ["a", "b", "c"]);
    assert_eq!(all(&guest.see("queues?sort=messages"), "name"), ["a", "c", "b"]);
    let path = "queues?sort=message_stats.publish&sort_reverse=true";
    assert_eq!(all(&guest.see(path), "name"), ["b", "c", "a"]);
    let shown = guest.see("queues/%2F/b?columns=name,message_stats.publish");
    assert_eq!(shown, json!({"name": "b", "message_stats": {"publish": 1}}));
    let shown = guest.see("vhosts?columns=name");
    assert_eq!(shown, json!([{"name": "/"}]));
}

#[test]
fn a_slash_at_the_end_of_a_path_is_nothing() {
    let arena = Arena::start();
    let guest = arena.guest();
    assert_eq!(guest.see("vhosts/"), guest.see("vhosts"));
    assert_eq!(guest.see("exchanges/%2F/"), guest.see("exchanges/%2F"));
}
