//! Headers `CC` and `BCC`: more routing keys for the same message.

use super::client::*;
use super::exchanges::{delete_exchange, table};
use super::world::{Peer, World, everywhere};
use crate::limits::COPY_COUNT_MAX;
use amq_protocol::protocol::basic::AMQPProperties;
use amq_protocol::types::{AMQPValue, FieldTable};

fn keys(keys: &[&str]) -> AMQPValue {
    let keys: Vec<AMQPValue> = keys
        .iter()
        .map(|key| AMQPValue::LongString((*key).into()))
        .collect();
    AMQPValue::FieldArray(keys.into())
}

fn with(headers: &[(&str, AMQPValue)]) -> AMQPProperties {
    let mut table = FieldTable::default();
    for (key, value) in headers {
        table.insert((*key).into(), value.clone());
    }
    AMQPProperties::default()
        .with_headers(table)
        .with_correlation_id("7".into())
}

/// How many messages each queue had, and the headers of the latest.
fn taken(world: &mut World, reader: Peer, queues: &[&str]) -> (Vec<usize>, Vec<String>) {
    let mut headers = Vec::new();
    let counts = queues.iter().map(|queue| {
        let mut count = 0;
        loop {
            world.call(reader, 1, get_auto(queue));
            let Some(content) = world.contents(reader).pop() else {
                return count;
            };
            let found = content.properties.headers().clone().unwrap_or_default();
            headers = found.into_iter().map(|(key, _)| key.to_string()).collect();
            let id = content.properties.correlation_id().clone();
            assert_eq!(id, Some("7".into()), "the rest stays");
            count += 1;
        }
    });
    (counts.collect(), headers)
}

const QUEUES: [&str; 3] = ["q", "r", "s"];

fn set_up(world: &mut World) -> (Peer, Peer) {
    let (a, b) = (world.connect(0), world.connect(1));
    world.ask(a, 1, declare("q"));
    world.ask(b, 1, declare("r"));
    world.ask(a, 1, declare("s"));
    (a, b)
}

#[test]
fn each_queue_gets_the_message_once_and_nobody_sees_the_blind_copies() {
    everywhere(|world| {
        let (a, b) = set_up(world);
        world.ask(a, 1, declare_exchange("t", "topic"));
        for queue in QUEUES {
            world.ask(b, 1, bind(queue, "t", &format!("{queue}.#")));
        }
        let properties = with(&[
            ("a", AMQPValue::LongInt(1)),
            ("BCC", keys(&["s", "s.x"])),
            ("CC", keys(&["r", "q", "r", "r.1", "r.2"])),
        ]);
        for (exchange, key) in [("", "q"), ("t", "q.1")] {
            for (publisher, reader) in [(a, b), (b, a)] {
                let publish = mandatory(exchange, key);
                world.publish_with(publisher, 1, publish, &properties, "x");
                world.run();
                let (counts, mut headers) = taken(world, reader, &QUEUES);
                assert_eq!(counts, [1, 1, 1]);
                headers.sort();
                assert_eq!(headers, ["CC", "a"]);
                assert!(world.lines(publisher).is_empty());
            }
        }
        world.ask(a, 1, delete_exchange("t"));
    });
}

#[test]
fn a_message_is_returned_only_if_no_key_leads_anywhere() {
    everywhere(|world| {
        let (a, b) = set_up(world);
        for header in ["CC", "BCC"] {
            let properties = with(&[(header, keys(&["r"]))]);
            world.publish_with(a, 1, mandatory("", "none"), &properties, "x");
            world.run();
            assert!(world.lines(a).is_empty());
            assert_eq!(taken(world, b, &QUEUES).0, [0, 1, 0]);
            let properties = with(&[(header, keys(&["nowhere"]))]);
            for exchange in ["", "amq.direct"] {
                world.publish_with(a, 1, mandatory(exchange, "none"), &properties, "x");
                world.run();
                let returned = world.contents(a).remove(0);
                let headers = returned.properties.headers().clone().unwrap_or_default();
                assert_eq!(headers.inner().contains_key("CC"), header == "CC");
                assert!(!headers.inner().contains_key("BCC"));
            }
        }
    });
}

#[test]
fn a_requester_gets_its_reply_whichever_key_names_it() {
    everywhere(|world| {
        let (a, b) = set_up(world);
        let name = world.reply_name(a);
        world.lines(a);
        for (key, copies) in [(name.as_str(), ["q", "r"]), ("q", [name.as_str(), "r"])] {
            let properties = with(&[("CC", keys(&copies))]);
            world.publish_with(b, 1, mandatory("", key), &properties, "x");
            world.run();
            assert_eq!(world.bodies(a), ["x"]);
            assert_eq!(taken(world, b, &QUEUES).0, [1, 1, 0]);
        }
        let properties = with(&[("BCC", keys(&[&name]))]);
        world.publish_with(b, 1, mandatory("", "none"), &properties, "x");
        world.run();
        assert_eq!(world.bodies(a), ["x"]);
        assert!(world.lines(b).is_empty());
    });
}

#[test]
fn what_is_no_list_is_refused_and_what_is_no_key_is_passed_over() {
    everywhere(|world| {
        let (a, b) = set_up(world);
        for (header, value, found) in [
            ("CC", AMQPValue::LongString("q".into()), "longstr"),
            ("CC", AMQPValue::Void, "void"),
            ("BCC", AMQPValue::LongInt(5), "signedint"),
            ("BCC", AMQPValue::FieldTable(table(&[])), "table"),
        ] {
            let properties = with(&[(header, value)]);
            world.publish_with(a, 1, to("", "q"), &properties, "x");
            world.run();
            assert_eq!(
                world.lines(a),
                [format!(
                    "1 channel.close 406 60.40 PRECONDITION_FAILED - invalid message: \
                     {{unacceptable_type_in_header,\"{header}\",{found}}}"
                )]
            );
            world.reopen(a, 1);
        }
        // An exchange that is not there is noticed first.
        let properties = with(&[("CC", AMQPValue::Void)]);
        world.publish_with(a, 1, to("none", "q"), &properties, "x");
        world.run();
        let missing = "1 channel.close 404 60.40 NOT_FOUND - no exchange 'none' in vhost '/'";
        assert_eq!(world.lines(a), [missing]);
        world.reopen(a, 1);
        let long = "r".repeat(300);
        let mixed = vec![
            AMQPValue::LongInt(5),
            AMQPValue::LongString(long.into()),
            AMQPValue::LongString("r".into()),
        ];
        let properties = with(&[("CC", AMQPValue::FieldArray(mixed.into()))]);
        world.publish_with(a, 1, to("", "none"), &properties, "x");
        world.run();
        assert!(world.lines(a).is_empty());
        assert_eq!(taken(world, b, &QUEUES).0, [0, 1, 0]);
        let many = vec!["r"; COPY_COUNT_MAX + 1];
        for (count, is_fine) in [(COPY_COUNT_MAX, true), (COPY_COUNT_MAX + 1, false)] {
            let properties = with(&[("CC", keys(&many[..count]))]);
            world.publish_with(a, 1, to("", "none"), &properties, "x");
            world.run();
            let text = "PRECONDITION_FAILED - more than 256 keys in CC and BCC";
            match is_fine {
                true => assert!(world.lines(a).is_empty()),
                false => assert_eq!(
                    world.lines(a),
                    [format!("1 channel.close 406 60.40 {text}")]
                ),
            }
        }
        assert_eq!(taken(world, b, &QUEUES).0, [0, 1, 0]);
    });
}
