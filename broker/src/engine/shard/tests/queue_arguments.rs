//! Arguments of queues: which are taken, which are refused and how, and what is compared.

use super::client::*;
use super::world::everywhere;
use amq_protocol::types::AMQPValue;

#[test]
fn wrong_arguments_are_refused_in_rabbitmqs_words() {
    let text = |text: &str| AMQPValue::LongString(text.into());
    let cases = [
        ("x-message-ttl", int(-1), ": {value_negative,-1}"),
        (
            "x-message-ttl",
            text("a"),
            ": \"expected integer, got longstr\"",
        ),
        (
            "x-message-ttl",
            AMQPValue::Void,
            ": \"expected integer, got void\"",
        ),
        (
            "x-message-ttl",
            int(315_360_000_001),
            ": {value_too_large,315360000001}",
        ),
        ("x-expires", int(0), ": {value_zero,0}"),
        (
            "x-max-length",
            AMQPValue::Boolean(true),
            ": \"expected integer, got bool\"",
        ),
        ("x-max-length-bytes", int(-5), ": {value_negative,-5}"),
        ("x-max-priority", int(256), ": {max_value_exceeded,256}"),
        ("x-overflow", text("foo"), ": invalid_overflow"),
        ("x-overflow", int(1), ": {unacceptable_type,long}"),
        (
            "x-dead-letter-routing-key",
            text("k"),
            ": routing_key_but_no_dlx_defined",
        ),
        (
            "x-dead-letter-routing-key",
            int(1),
            ": {unacceptable_type,long}",
        ),
        (
            "x-single-active-consumer",
            text("true"),
            ": {unacceptable_type,longstr}",
        ),
        (
            "x-queue-type",
            text("quorum"),
            ": \"unsupported queue type 'quorum'\"",
        ),
        ("x-queue-type", int(1), ": {unacceptable_type,long}"),
        (
            "x-queue-mode",
            text("foo"),
            ": \"unsupported queue mode 'foo'\"",
        ),
        (
            "x-queue-version",
            int(3),
            ": \"unsupported queue version '3'\"",
        ),
        (
            "x-max-age",
            text("1h"),
            " of queue type rabbit_classic_queue",
        ),
    ];
    everywhere(|world| {
        let peer = world.connect(0);
        for (key, value, what) in &cases {
            let lines = world.ask(peer, 1, declare_with("q", &[(*key, value.clone())]));
            let expected = format!("invalid arg '{key}' for queue 'q' in vhost '/'{what}");
            let expected = format!("1 channel.close 406 50.10 PRECONDITION_FAILED - {expected}");
            assert_eq!(lines, [expected]);
            world.reopen(peer, 1);
        }
        let lines = world.ask(
            peer,
            1,
            declare_with("q", &[("x-dead-letter-exchange", int(1))]),
        );
        let expected = "invalid type 'long' for arg 'x-dead-letter-exchange' in queue 'q' in \
                        vhost '/'";
        let expected = format!("1 channel.close 406 50.10 PRECONDITION_FAILED - {expected}");
        assert_eq!(lines, [expected]);
    });
}

#[test]
fn what_rabbitmq_passes_over_is_passed_over() {
    everywhere(|world| {
        let (peer, other) = (world.connect(0), world.connect(1));
        let arguments = [
            ("x-queue-type", AMQPValue::LongString("classic".into())),
            ("x-queue-mode", AMQPValue::LongString("lazy".into())),
            ("x-queue-version", int(2)),
            ("x-foo", int(1)),
            ("foo", int(1)),
        ];
        let lines = world.ask(peer, 1, declare_with("q", &arguments));
        assert_eq!(lines, ["1 declare-ok q 0 0"]);
        // The type and unknown ones are not compared.
        let lazy = [arguments[1].clone(), arguments[2].clone()];
        let lines = world.ask(other, 1, declare_with("q", &lazy));
        assert_eq!(lines, ["1 declare-ok q 0 0"]);
    });
}

#[test]
fn other_arguments_are_inequivalent() {
    let name = |name: &str| AMQPValue::LongString(name.into());
    let declared = [
        ("x-message-ttl", int(10_000)),
        ("x-overflow", name("drop-head")),
        ("x-dead-letter-exchange", name("d")),
        ("x-single-active-consumer", AMQPValue::Boolean(true)),
    ];
    let cases = [
        (
            "x-message-ttl",
            Some(int(1)),
            "received '1' but current is '10000'",
        ),
        (
            "x-message-ttl",
            None,
            "received none but current is the value '10000' of type 'long'",
        ),
        (
            "x-overflow",
            Some(name("reject-publish")),
            "received 'reject-publish' but current is 'drop-head'",
        ),
        (
            "x-single-active-consumer",
            Some(AMQPValue::Boolean(false)),
            "received 'false' but current is 'true'",
        ),
        (
            "x-expires",
            Some(int(7)),
            "received the value '7' of type 'long' but current is none",
        ),
        (
            "x-dead-letter-routing-key",
            Some(name("a")),
            "received the value 'a' of type 'longstr' but current is none",
        ),
    ];
    everywhere(|world| {
        let (peer, other) = (world.connect(0), world.connect(1));
        world.call(peer, 1, declare_with("q", &declared));
        for (key, value, what) in &cases {
            let mut arguments = declared.to_vec();
            arguments.retain(|(other, _)| other != key);
            arguments.extend(value.clone().map(|value| (*key, value)));
            let lines = world.ask(other, 1, declare_with("q", &arguments));
            let expected = format!("inequivalent arg '{key}' for queue 'q' in vhost '/': {what}");
            let expected = format!("1 channel.close 406 50.10 PRECONDITION_FAILED - {expected}");
            assert_eq!(lines, [expected]);
            world.reopen(other, 1);
        }
        // Another width of integer is the same number.
        let mut arguments = declared.to_vec();
        arguments[0].1 = AMQPValue::ShortInt(10_000);
        let lines = world.ask(other, 1, declare_with("q", &arguments));
        assert_eq!(lines, ["1 declare-ok q 0 0"]);
    });
}
