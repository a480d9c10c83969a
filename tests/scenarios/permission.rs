//! Permissions: who may do what.

use leveret_codec::Value;
use leveret_codec::method::{basic, exchange, queue};

use crate::support::world::{World, s, table, text};

fn refused(ids: &str, what: &str) -> String {
    format!(
        "channel.close 403 {ids} ACCESS_REFUSED - access to {what} in vhost '/' refused for user 'guest'"
    )
}

#[test]
fn each_method_needs_its_permission() {
    let world = World::new();
    let client = world.client();
    client.channel(100).declare("q");
    client.closed_channel(100).exchange("x", "fanout");
    world.permit("", "", "");
    let ch = |number| client.channel(number);
    let q = || s("q");
    let declare = queue::Declare { queue: q(), ..Default::default() };
    assert_eq!(ch(1).call(declare), refused("50,10", "queue 'q'"));
    let delete = queue::Delete { queue: q(), ..Default::default() };
    assert_eq!(ch(2).call(delete), refused("50,40", "queue 'q'"));
    let purge = queue::Purge { queue: q(), ..Default::default() };
    assert_eq!(ch(3).call(purge), refused("50,30", "queue 'q'"));
    assert_eq!(ch(4).get("q"), refused("60,70", "queue 'q'"));
    let consume = basic::Consume { queue: q(), ..Default::default() };
    assert_eq!(ch(5).call(consume), refused("60,20", "queue 'q'"));
    assert_eq!(ch(6).try_bind("q", "x", "", &[]), refused("50,20", "queue 'q'"));
    let delete = exchange::Delete { exchange: s("x"), ..Default::default() };
    assert_eq!(ch(7).call(delete), refused("40,20", "exchange 'x'"));
    let publisher = ch(8);
    publisher.publish_to("x", "", "a");
    assert_eq!(publisher.lines(), [refused("60,40", "exchange 'x'")]);
    publisher.call(leveret_codec::method::channel::CloseOk {});
    let publisher = ch(8);
    publisher.publish("q", "a");
    assert_eq!(publisher.lines(), [refused("60,40", "exchange 'amq.default'")]);
}

#[test]
fn a_permission_is_looked_at_before_existence() {
    let world = World::new();
    let client = world.client();
    world.permit("^a", "^a", "^a");
    assert_eq!(client.channel(1).get("b"), refused("60,70", "queue 'b'"));
    assert!(client.channel(2).get("a").contains("NOT_FOUND - no queue 'a'"));
    let publisher = client.channel(3);
    publisher.publish_to("b", "k", "x");
    assert_eq!(publisher.lines(), [refused("60,40", "exchange 'b'")]);
    let delete = queue::Delete { queue: s("b"), ..Default::default() };
    assert_eq!(client.channel(4).call(delete), refused("50,40", "queue 'b'"));
}

#[test]
fn binding_needs_to_write_to_one_end_and_read_from_the_other() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.exchange("x", "fanout");
    world.permit("", "^q$", "");
    assert_eq!(ch.try_bind("q", "x", "", &[]), refused("50,20", "exchange 'x'"));
    world.permit("", "^q$", "^x$");
    client.channel(2).bind("q", "x", "");
}

#[test]
fn a_passive_declaration_needs_nothing() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    world.permit("", "", "");
    let passive = queue::Declare { queue: s("q"), passive: true, ..Default::default() };
    assert_eq!(ch.call(passive), "queue.declare-ok q ready=0 consumers=0");
}

#[test]
fn every_declaration_and_deletion_needs_to_configure() {
    let world = World::new();
    let client = world.client();
    world.permit("", ".*", ".*");
    let declare =
        |exchange| exchange::Declare { exchange, kind: s("direct"), ..Default::default() };
    assert_eq!(client.channel(1).call(declare(s("x"))), refused("40,10", "exchange 'x'"));
    assert_eq!(client.channel(2).try_declare("q", &[]), refused("50,10", "queue 'q'"));
    // Equivalent or not, there or not.
    let answer = client.channel(3).call(declare(s("amq.direct")));
    assert_eq!(answer, refused("40,10", "exchange 'amq.direct'"));
    let delete = exchange::Delete { exchange: s("none"), ..Default::default() };
    assert_eq!(client.channel(4).call(delete), refused("40,20", "exchange 'none'"));
    // What nobody may do is told first.
    let answer = client.channel(5).call(declare(s("")));
    assert!(answer.contains("operation not permitted on the default exchange"), "{answer}");
    let answer = client.channel(6).try_declare("amq.mine", &[]);
    assert!(answer.contains("contains reserved prefix 'amq.*'"), "{answer}");
}

#[test]
fn purge_get_and_consume_need_to_read_alone() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    world.permit("", "", "^q$");
    assert_eq!(ch.get("q"), "basic.get-empty");
    ch.consume("q", "c");
    assert_eq!(ch.call(queue::Purge { queue: s("q"), ..Default::default() }), "queue.purge-ok 0");
}

#[test]
fn unbinding_needs_what_binding_needs() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(100);
    ch.declare("q");
    ch.exchange("x", "fanout");
    ch.bind("q", "x", "");
    let unbind = queue::Unbind { queue: s("q"), exchange: s("x"), ..Default::default() };
    world.permit("", "^x$", "^x$");
    assert_eq!(client.channel(1).call(unbind), refused("50,50", "queue 'q'"));
    world.permit("", "^q$", "^q$");
    assert_eq!(client.channel(2).call(unbind), refused("50,50", "exchange 'x'"));
    world.permit("", "^q$", "^x$");
    assert_eq!(client.channel(3).call(unbind), "queue.unbind-ok");
}

#[test]
fn exchanges_are_bound_by_who_may_write_to_one_and_read_from_the_other() {
    let world = World::new();
    let client = world.client();
    let bind = exchange::Bind { destination: s("to"), source: s("from"), ..Default::default() };
    let unbind = exchange::Unbind { destination: s("to"), source: s("from"), ..Default::default() };
    world.permit("", "^from$", "^from$");
    assert_eq!(client.channel(1).call(bind), refused("40,30", "exchange 'to'"));
    assert_eq!(client.channel(2).call(unbind), refused("40,40", "exchange 'to'"));
    world.permit("", "^to$", "^to$");
    assert_eq!(client.channel(3).call(bind), refused("40,30", "exchange 'from'"));
    assert_eq!(client.channel(4).call(unbind), refused("40,40", "exchange 'from'"));
    world.permit("", "^to$", "^from$");
    let answer = client.channel(5).call(bind);
    assert_eq!(answer, "channel.close 404 40,30 NOT_FOUND - no exchange 'from' in vhost '/'");
    assert_eq!(client.channel(6).call(unbind), "exchange.unbind-ok");
}

#[test]
fn the_default_exchange_goes_by_the_name_amq_default() {
    let world = World::new();
    let client = world.client();
    client.channel(1).declare("q");
    world.permit("", "^amq\\.default$", "");
    let publisher = client.channel(2);
    publisher.publish("q", "a");
    assert_eq!(world.counts("q"), "1/0");
    publisher.publish_to("amq.default", "q", "a");
    assert_eq!(
        publisher.lines(),
        ["channel.close 404 60,40 NOT_FOUND - no exchange 'amq.default' in vhost '/'"]
    );
    // As the destination of a binding it is looked for before it is found to be out of reach.
    let bind = exchange::Bind { source: s("amq.fanout"), ..Default::default() };
    assert!(client.channel(3).call(bind).contains("operation not permitted on the default"));
    world.permit("", "", "");
    assert_eq!(client.channel(4).call(bind), refused("40,30", "exchange 'amq.default'"));
}

#[test]
fn who_dead_letters_needs_to_read_the_queue_and_write_to_the_exchange() {
    let world = World::new();
    let client = world.client();
    let arguments = [("x-dead-letter-exchange", text("dlx"))];
    world.permit(".*", "^dlx$", "^other$");
    assert_eq!(client.channel(1).try_declare("q", &arguments), refused("50,10", "queue 'q'"));
    world.permit(".*", "^other$", "^q$");
    assert_eq!(client.channel(2).try_declare("q", &arguments), refused("50,10", "exchange 'dlx'"));
    let to_default = [("x-dead-letter-exchange", text(""))];
    let answer = client.channel(3).try_declare("q", &to_default);
    assert_eq!(answer, refused("50,10", "exchange 'amq.default'"));
    world.permit(".*", "^dlx$", "^q$");
    client.channel(4).declare_with("q", &arguments);
    // Of a queue that is there nothing of that is asked.
    world.permit(".*", "", "");
    client.channel(5).declare_with("q", &arguments);
}

#[test]
fn the_right_to_dead_letter_is_looked_at_before_the_other_arguments() {
    let world = World::new();
    let client = world.client();
    let arguments = [("x-dead-letter-exchange", text("dlx")), ("x-expires", Value::I32(0))];
    world.permit(".*", "", ".*");
    assert_eq!(client.channel(1).try_declare("q", &arguments), refused("50,10", "exchange 'dlx'"));
    let answer = client.channel(2).try_declare("q", &[("x-dead-letter-exchange", Value::I32(5))]);
    assert!(answer.contains("invalid type 'signedint' for arg 'x-dead-letter-exchange'"));
}

#[test]
fn who_names_an_alternate_exchange_needs_to_read_and_to_write_to_that() {
    let world = World::new();
    let client = world.client();
    let arguments = table(&[("alternate-exchange", text("ae"))]);
    let declare = exchange::Declare {
        exchange: s("x"),
        kind: s("direct"),
        arguments: arguments.as_table(),
        ..Default::default()
    };
    world.permit(".*", "^ae$", "^other$");
    assert_eq!(client.channel(1).call(declare), refused("40,10", "exchange 'x'"));
    world.permit(".*", "^other$", "^x$");
    assert_eq!(client.channel(2).call(declare), refused("40,10", "exchange 'ae'"));
    world.permit(".*", "^ae$", "^x$");
    assert_eq!(client.channel(3).call(declare), "exchange.declare-ok");
    world.permit(".*", "", "");
    assert_eq!(client.channel(4).call(declare), "exchange.declare-ok");
}

#[test]
fn a_server_named_queue_is_judged_by_the_name_it_gets() {
    let world = World::new();
    let client = world.client();
    world.permit("^amq\\.gen-", "", "");
    assert!(client.channel(1).try_declare("", &[]).starts_with("queue.declare-ok amq.gen-"));
    world.permit("^mine", "", "");
    let answer = client.channel(2).try_declare("", &[]);
    let start = "channel.close 403 50,10 ACCESS_REFUSED - access to queue 'amq.gen-";
    assert!(answer.starts_with(start), "{answer}");
}

#[test]
fn passive_declarations_of_exchanges_need_nothing_either() {
    let world = World::new();
    let client = world.client();
    world.permit("", "", "");
    assert!(client.channel(1).has_exchange("amq.topic"));
    let passive = queue::Declare { queue: s("none"), passive: true, ..Default::default() };
    assert_eq!(
        client.channel(2).call(passive),
        "channel.close 404 50,10 NOT_FOUND - no queue 'none' in vhost '/'"
    );
}

#[test]
fn what_changes_counts_for_who_is_connected_and_for_no_other_user() {
    let world = World::new();
    let (guest, ann) = (world.client(), world.client_of("ann"));
    let (ch, other) = (guest.channel(1), ann.channel(1));
    ch.declare("q");
    world.permit("", "", "");
    ch.publish("q", "a");
    assert_eq!(ch.lines(), [refused("60,40", "exchange 'amq.default'")]);
    other.publish("q", "b");
    assert_eq!(world.counts("q"), "1/0");
    world.permit("", ".*", "");
    guest.channel(2).publish("q", "c");
    assert_eq!(world.counts("q"), "2/0");
}

#[test]
fn a_publish_that_is_refused_is_not_queued_though_it_was_confirmed_for() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.confirm_select();
    world.permit("", "^amq\\.topic$", "");
    ch.publish_to("amq.topic", "k", "fine");
    ch.publish("q", "a");
    assert_eq!(ch.lines(), ["basic.ack 1", &*refused("60,40", "exchange 'amq.default'")]);
    assert_eq!(world.counts("q"), "0/0");
}

#[test]
fn a_consumer_that_is_there_keeps_getting() {
    let world = World::new();
    let client = world.client();
    let ch = client.channel(1);
    ch.declare("q");
    ch.consume("q", "c");
    world.permit("", ".*", "");
    ch.publish("q", "a");
    assert_eq!(ch.lines(), ["basic.deliver c 1 a"]);
    ch.ack(1);
    assert_eq!(world.counts("q"), "0/0");
}
