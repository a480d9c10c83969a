//! Lists that are too long for one hold of a virtual host's lock, and for one piece of an answer.

use leveret_codec::encode::method;
use leveret_codec::method::{basic, channel, queue};
use serde_json::json;

use super::arena::{Arena, all};
use crate::support::client::{Client, short};

/// More than twice as many as are visited in one hold.
const MANY: usize = 2_500;

/// Each number below a round one once, in no order.
fn numbers(count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |number| number * 777 % count)
}

/// The name of a queue, or a key, whose order is that of the numbers.
fn name(number: usize) -> String {
    format!("hare {number:05}")
}

/// A client that has made a queue for each of so many numbers.
fn declare_many(arena: &Arena, count: usize) -> Client {
    let mut client = Client::connect(arena.amqp());
    let mut octets = Vec::new();
    for number in numbers(count) {
        let name = name(number);
        let declare =
            queue::Declare { queue: short(&name), nowait: true, ..queue::Declare::default() };
        method(&mut octets, 1, &declare);
    }
    client.send(&octets).unwrap();
    client.declare(&name(0), false);
    client
}

#[test]
fn a_long_list_comes_in_order_and_in_pieces() {
    let arena = Arena::start();
    let guest = arena.guest();
    assert!(!guest.get("queues").is_chunked());
    let _client = declare_many(&arena, MANY);
    let names: Vec<_> = (0..MANY).map(name).collect();
    for path in ["queues", "queues/%2F"] {
        let reply = guest.get(path);
        assert!(reply.is_chunked());
        assert_eq!(all(&reply.json(), "name"), names);
    }
    let columns = guest.see("queues?columns=name,arguments.x&sort_reverse=true");
    let reversed: Vec<_> =
        names.iter().rev().map(|name| json!({"name": name, "arguments": {}})).collect();
    assert_eq!(columns, json!(reversed));
}

#[test]
fn pages_of_a_long_list_are_parts_of_it() {
    let arena = Arena::start();
    let guest = arena.guest();
    let mut client = declare_many(&arena, MANY);
    let mut together = Vec::new();
    for page in 1..=25 {
        let page = guest.see(&format!("queues?page={page}&page_size=100&columns=name"));
        assert_eq!((&page["total_count"], &page["item_count"]), (&json!(MANY), &json!(100)));
        together.extend(all(&page["items"], "name").into_iter().map(str::to_owned));
    }
    assert_eq!(together, (0..MANY).map(name).collect::<Vec<_>>());

    for (number, messages) in [(7, 1), (1234, 3), (2499, 2)] {
        for _ in 0..messages {
            client.publish_safely(1, ("", &name(number)), &[0, 0], b"x");
        }
    }
    let page = guest.see("queues?page=1&page_size=4&sort=messages&sort_reverse=true");
    assert_eq!(all(&page["items"], "name"), [1234, 2499, 7, 2498].map(name));
    let page = guest.see("queues?page=1&page_size=2&sort=message_stats.publish&sort_reverse=true");
    assert_eq!(all(&page["items"], "name"), [1234, 2499].map(name));
    let page = guest.see("queues?page=2&page_size=4&name=99&columns=name");
    assert_eq!(all(&page["items"], "name"), [499, 599, 699, 799].map(name));
    assert_eq!((&page["filtered_count"], &page["page_count"]), (&json!(43), &json!(11)));
}

#[test]
fn a_list_that_takes_several_visits_is_whole() {
    // More than are found in one visit.
    const COUNT: usize = 60_000;
    let arena = Arena::start();
    let guest = arena.guest();
    let mut client = Client::connect(arena.amqp());
    let mut octets = Vec::new();
    for number in 0..COUNT {
        let key = format!("{:05}", number * 7_919 % COUNT);
        let bind = queue::Bind {
            queue: short("q"),
            exchange: short("amq.direct"),
            routing_key: short(&key),
            nowait: true,
            ..queue::Bind::default()
        };
        method(&mut octets, 1, &bind);
    }
    client.declare("q", false);
    client.send(&octets).unwrap();
    client.declare("q", false);
    let path = "exchanges/%2F/amq.direct/bindings/source?columns=routing_key";
    let keys: Vec<_> = (0..COUNT).map(|number| format!("{number:05}")).collect();
    let reversed: Vec<_> = keys.iter().rev().cloned().collect();
    for (query, expected) in [
        ("", keys),
        ("&sort_reverse=true", reversed.clone()),
        ("&sort=routing_key&sort_reverse=true", reversed),
    ] {
        let list = guest.see(&format!("{path}{query}"));
        // why: a difference would be printed with all that is equal.
        assert!(all(&list, "routing_key") == expected, "{query}");
    }
}

#[test]
fn what_comes_and_goes_beside_a_list_is_never_in_it_twice() {
    // So many that they come and go while a list is read.
    const COUNT: usize = 20_000;
    let arena = Arena::start();
    let guest = arena.guest();
    let mut client = declare_many(&arena, COUNT);
    let ends = [numbers(COUNT).next(), numbers(COUNT).last()].map(|number| name(number.unwrap()));
    let names = ends.clone();
    let (done, is_done) = std::sync::mpsc::channel();
    let changing = std::thread::spawn(move || {
        // Two queues go, and come again each at the place of the other, which is at the other end of a visit.
        while is_done.try_recv().is_err() {
            for name in &names {
                client.call(1, &queue::Delete { queue: short(name), ..queue::Delete::default() });
            }
            for name in &names {
                client.declare(name, false);
            }
        }
    });
    for _ in 0..10 {
        let list = guest.see("queues?columns=name");
        let mut names = all(&list, "name");
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "one is there twice");
        names.retain(|it| !ends.iter().any(|end| end == it));
        let stay = (0..COUNT).map(name).filter(|name| !ends.contains(name));
        // why: a difference would be printed with all that is equal.
        assert!(names == stay.collect::<Vec<_>>(), "one that stayed is not there");
    }
    done.send(()).unwrap();
    changing.join().unwrap();
}

#[test]
fn one_of_many_bindings_is_found() {
    let arena = Arena::start();
    let guest = arena.guest();
    let mut client = Client::connect(arena.amqp());
    client.declare("q", false);
    let mut octets = Vec::new();
    for number in numbers(MANY) {
        let key = name(number);
        let bind = queue::Bind {
            queue: short("q"),
            exchange: short("amq.topic"),
            routing_key: short(&key),
            nowait: true,
            ..queue::Bind::default()
        };
        method(&mut octets, 1, &bind);
    }
    client.send(&octets).unwrap();
    client.declare("q", false);
    let keys: Vec<_> = (0..MANY).map(name).collect();
    let between = "bindings/%2F/e/amq.topic/q/q";
    for path in [between, "exchanges/%2F/amq.topic/bindings/source"] {
        assert_eq!(all(&guest.see(path), "routing_key"), keys, "{path}");
    }
    for path in ["bindings", "bindings/%2F", "queues/%2F/q/bindings"] {
        let list = guest.see(path);
        let found = all(&list, "routing_key");
        assert_eq!((found[0], found.len()), ("q", MANY + 1), "{path}");
        assert_eq!(found[1..], keys);
    }
    let page = guest.see("bindings?page=26&page_size=100&columns=routing_key");
    assert_eq!(page["items"], json!([{"routing_key": name(MANY - 1)}]));
    let one = format!("{between}/hare+02345");
    assert_eq!(guest.see(&one)["routing_key"], name(2345));
    assert_eq!(guest.delete(&one).status, 204);
    assert_eq!(guest.get(&one).status, 404);
}

#[test]
fn many_channels_and_consumers_are_listed() {
    let arena = Arena::start();
    let guest = arena.guest();
    let mut client = Client::connect(arena.amqp());
    client.declare("q", false);
    let mut octets = Vec::new();
    for number in 2..=1_200 {
        method(&mut octets, number, &channel::Open::default());
    }
    for number in (1..=1_200_u16).rev() {
        let tag = format!("c{number}");
        let consume = basic::Consume {
            queue: short("q"),
            consumer_tag: short(&tag),
            nowait: true,
            ..basic::Consume::default()
        };
        method(&mut octets, number, &consume);
    }
    client.send(&octets).unwrap();
    for _ in 2..=1_200 {
        client.frame();
    }
    client.declare("q", false);

    let tags: Vec<_> = (1..=1_200).rev().map(|number| format!("c{number}")).collect();
    assert_eq!(all(&guest.see("consumers"), "consumer_tag"), tags);
    let queue = guest.get("queues/%2F/q");
    assert!(queue.is_chunked());
    let queue = queue.json();
    assert_eq!((&queue["name"], &queue["consumers"]), (&json!("q"), &json!(1_200)));
    assert_eq!(all(&queue["consumer_details"], "consumer_tag"), tags);
    let some = guest.see("queues/%2F/q?columns=name,consumer_details.active");
    assert_eq!(some["consumer_details"], json!(vec![json!({"active": true}); 1_200]));
    assert_eq!(guest.see("queues/%2F/q?columns=name"), json!({"name": "q"}));

    let channels = guest.see("channels");
    let mut names = all(&channels, "name");
    assert_eq!(names.len(), 1_200);
    assert!(names.is_sorted());
    names.dedup();
    assert_eq!(names.len(), 1_200);
    let page = guest.see("channels?page=1&page_size=2&sort=number&sort_reverse=true");
    assert_eq!(
        (&page["items"][0]["number"], &page["items"][1]["number"]),
        (&json!(1_200), &json!(1_199))
    );
    let name = names[7].replace(' ', "%20").replace('>', "%3E");
    assert_eq!(
        guest.see(&format!("channels/{name}"))["consumer_details"].as_array().unwrap().len(),
        1
    );
    let totals = &guest.see("overview")["object_totals"];
    let counted = ["connections", "channels", "consumers"].map(|it| totals[it].clone());
    assert_eq!(counted, [json!(1), json!(1_200), json!(1_200)]);
}
