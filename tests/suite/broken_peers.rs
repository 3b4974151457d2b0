//! Peers that break the protocol at every phase of a connection's life: each loses its channel or
//! connection with the spec's code, and nobody else notices.

use blackbox::peer::{start_ok, tune_ok};
use blackbox::rpc::Bystander;
use blackbox::wire::{self, BODY, HEADER, METHOD, Properties, method};
use blackbox::work::EXCLUSIVE;
use blackbox::{Broker, Peer};

/// What a peer has done before it breaks the rules.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum Phase {
    AfterHeader,
    AfterStartOk,
    AfterTuneOk,
    Opened,
    InChannel,
    BetweenPublishAndHeader,
    BetweenHeaderAndBody,
    InBody,
}

use Phase::*;

const PHASES: [Phase; 8] = [
    AfterHeader,
    AfterStartOk,
    AfterTuneOk,
    Opened,
    InChannel,
    BetweenPublishAndHeader,
    BetweenHeaderAndBody,
    InBody,
];

fn peer_in(phase: Phase, broker: &Broker) -> Peer {
    let mut peer = Peer::connect(broker);
    if phase == AfterHeader {
        peer.send(wire::PROTOCOL_HEADER);
        peer.expect_start();
        return peer;
    }
    peer.shake_hands_until_tune();
    if phase == AfterStartOk {
        return peer;
    }
    peer.send(&tune_ok(2047, 131_072, 0).frame(0));
    if phase == AfterTuneOk {
        return peer;
    }
    let mut peer = Peer::open_connection(broker);
    if phase >= InChannel {
        peer.open_channel(1);
    }
    if phase >= BetweenPublishAndHeader {
        peer.send(&wire::publish("", "nowhere", false).frame(1));
    }
    if phase >= BetweenHeaderAndBody {
        peer.send(&wire::content_header(1, 1000, &[0, 0]));
    }
    if phase >= InBody {
        peer.send(&wire::frame(BODY, 1, &[7; 999]));
    }
    peer
}

/// Whatever was sent in `phase`, the connection must end with one of `codes`; before it is open
/// the broker may also hang up without a word.
#[track_caller]
fn expect_end(mut peer: Peer, phase: Phase, codes: &[u16], what: &str) {
    match peer.expect_close_or_hang_up() {
        Some(refusal) => assert!(
            codes.contains(&refusal.code),
            "{phase:?} {what}: {refusal:?}"
        ),
        None => assert!(phase < Opened, "{phase:?} {what}: closed without a word"),
    }
}

fn on_every_phase(test: impl Fn(Phase, &Broker)) {
    let broker = Broker::start(2);
    let mut bystander = Bystander::start(&broker);
    for phase in PHASES {
        test(phase, &broker);
        bystander.must_be_served();
    }
}

#[test]
fn garbage_ends_the_connection_at_every_phase() {
    on_every_phase(|phase, broker| {
        let garbage: [&[u8]; 4] = [
            &[0xFF; 64],
            b"AMQP\x00\x00\x09\x01",
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            &[0; 64],
        ];
        for bytes in garbage {
            let mut peer = peer_in(phase, broker);
            peer.send(bytes);
            expect_end(peer, phase, &[501, 503, 505], &format!("{bytes:x?}"));
        }
    });
}

#[test]
fn an_unknown_frame_type_ends_the_connection_at_every_phase() {
    on_every_phase(|phase, broker| {
        for kind in [0, 4, 5, 9, 255] {
            let mut peer = peer_in(phase, broker);
            peer.send(&wire::frame(kind, 1, b"what is this?"));
            expect_end(peer, phase, &[501, 505], &format!("frame type {kind}"));
        }
    });
}

#[test]
fn a_missing_frame_end_ends_the_connection_at_every_phase() {
    on_every_phase(|phase, broker| {
        let mut peer = peer_in(phase, broker);
        let mut bytes = start_ok("PLAIN", b"\0guest\0guest").frame(0);
        *bytes.last_mut().expect("a frame has octets") = 0xCD;
        peer.send(&bytes);
        expect_end(peer, phase, &[501], "no frame end");
    });
}

#[test]
fn an_oversize_frame_is_refused_before_its_payload_comes() {
    on_every_phase(|phase, broker| {
        if !broker.is_own() && phase < Opened {
            return eprintln!("{phase:?} skipped: RabbitMQ waits for the payload");
        }
        for len in [131_065, 1 << 24, u32::MAX - 7, u32::MAX] {
            if len == 131_065 && !broker.is_own() {
                continue; // RabbitMQ is generous by a few octets.
            }
            let mut peer = peer_in(phase, broker);
            let (kind, channel) = match phase {
                InChannel => (METHOD, 1),
                BetweenPublishAndHeader => (HEADER, 1),
                BetweenHeaderAndBody | InBody => (BODY, 1),
                _ => (METHOD, 0),
            };
            // Not one octet of the payload follows.
            peer.send(&wire::frame_start(kind, channel, len));
            expect_end(peer, phase, &[501], &format!("a frame of {len}"));
        }
    });
}

#[test]
fn a_stranger_may_not_send_more_than_8_kib_in_a_frame() {
    let Some(broker) = Broker::start_own(2, "RabbitMQ's limit differs") else {
        return;
    };
    let mut peer = peer_in(AfterHeader, &broker);
    peer.send(&wire::frame_start(METHOD, 0, 8 * 1024));
    expect_end(peer, AfterHeader, &[501], "8 KiB and its frame");
}

#[test]
fn a_peer_that_leaves_in_the_middle_of_a_frame_is_forgotten() {
    on_every_phase(|phase, broker| {
        let frame = match phase {
            AfterHeader => start_ok("PLAIN", b"\0guest\0guest").frame(0),
            AfterStartOk => tune_ok(2047, 131_072, 0).frame(0),
            AfterTuneOk => method(10, 40).shortstr("/").shortstr("").octet(0).frame(0),
            Opened => method(20, 10).shortstr("").frame(1),
            InChannel => wire::publish("", "nowhere", false).frame(1),
            BetweenPublishAndHeader => wire::content_header(1, 5, &[0, 0]),
            BetweenHeaderAndBody => wire::frame(BODY, 1, &[7; 1000]),
            InBody => wire::frame(BODY, 1, &[7; 1]),
        };
        for cut in [1, 6, 7, frame.len() - 1] {
            let mut peer = peer_in(phase, broker);
            peer.send(&frame[..cut]);
            peer.stop_sending();
            // No answer is owed to half a frame.
            peer.read_to_close();
        }
    });
}

#[test]
fn a_peer_that_leaves_in_the_middle_of_the_protocol_header_is_forgotten() {
    let broker = Broker::start(2);
    let mut bystander = Bystander::start(&broker);
    for cut in 0..8 {
        let mut peer = Peer::connect(&broker);
        peer.send(&wire::PROTOCOL_HEADER[..cut]);
        peer.stop_sending();
        peer.read_to_close();
        drop(Peer::connect(&broker));
        bystander.must_be_served();
    }
}

#[test]
fn a_truncated_or_overlong_method_is_a_syntax_error() {
    let broker = Broker::start(2);
    let mut bystander = Bystander::start(&broker);
    let whole = method(50, 10)
        .short(0)
        .shortstr("")
        .octet(EXCLUSIVE)
        .table(&[]);
    for len in 4..whole.0.len() {
        let mut peer = Peer::open(&broker);
        peer.send(&wire::frame(METHOD, 1, &whole.0[..len]));
        expect_end(
            peer,
            InChannel,
            &[501, 502],
            &format!("queue.declare cut to {len}"),
        );
    }
    let mut cases = vec![
        method(60, 40).short(0).octet(200).raw(b"shorter"),
        method(60, 80).long(1),
        method(60, 20)
            .short(0)
            .shortstr("q")
            .shortstr("")
            .octet(0)
            .long(u32::MAX),
    ];
    if broker.is_own() {
        cases.push(whole.octet(0));
    }
    for bytes in cases {
        let mut peer = Peer::open(&broker);
        peer.send(&bytes.frame(1));
        expect_end(
            peer,
            InChannel,
            &[501, 502],
            &format!("{bytes:x?}", bytes = bytes.0),
        );
    }
    bystander.must_be_served();
}

#[test]
fn a_method_frame_without_a_whole_method_id_ends_the_connection() {
    let broker = Broker::start(2);
    for payload in [&b""[..], b"\x00", b"\x00\x3c\x00"] {
        let mut peer = Peer::open(&broker);
        peer.send(&wire::frame(METHOD, 1, payload));
        expect_end(
            peer,
            InChannel,
            &[501, 502, 503, 540],
            &format!("{payload:x?}"),
        );
    }
}

#[test]
fn unknown_classes_and_methods_are_not_implemented() {
    let broker = Broker::start_own(2, "RabbitMQ hangs up without a word");
    let Some(broker) = broker else { return };
    let mut bystander = Bystander::start(&broker);
    for (class_id, method_id) in [(0, 0), (60, 999), (61, 10), (50, 12), (u16::MAX, u16::MAX)] {
        let mut peer = Peer::open(&broker);
        peer.send(&method(class_id, method_id).frame(1));
        let what = format!("{class_id}.{method_id}");
        expect_end(peer, InChannel, &[501, 502, 503, 540], &what);
    }
    bystander.must_be_served();
}

#[test]
fn content_out_of_its_time_is_an_unexpected_frame() {
    let broker = Broker::start(2);
    let mut bystander = Bystander::start(&broker);
    let header = wire::content_header(1, 5, &[0, 0]);
    let body = wire::frame(BODY, 1, b"hello");
    let declare = method(50, 10)
        .short(0)
        .shortstr("")
        .octet(EXCLUSIVE)
        .table(&[])
        .frame(1);
    let cases = [
        (InChannel, &header),
        (InChannel, &body),
        (BetweenPublishAndHeader, &body),
        (BetweenPublishAndHeader, &declare),
        (BetweenHeaderAndBody, &header),
        (BetweenHeaderAndBody, &declare),
        (InBody, &declare),
        (InBody, &header),
    ];
    for (phase, bytes) in cases {
        let mut peer = peer_in(phase, &broker);
        peer.send(bytes);
        expect_end(peer, phase, &[505], &format!("{bytes:x?}"));
    }
    bystander.must_be_served();
}

#[test]
fn a_body_longer_than_announced_ends_the_connection() {
    let broker = Broker::start_own(2, "RabbitMQ lets the octets through");
    let Some(broker) = broker else { return };
    let mut bystander = Bystander::start(&broker);
    let mut peer = peer_in(InBody, &broker);
    peer.send(&wire::frame(BODY, 1, b"two octets, one was missing"));
    expect_end(peer, InBody, &[501, 505], "a body too long");
    bystander.must_be_served();
}

#[test]
fn a_header_of_another_class_or_broken_properties_end_the_connection() {
    let broker = Broker::start(2);
    let mut bystander = Bystander::start(&broker);
    let start = |class_id| wire::Bytes::default().short(class_id).short(0).longlong(5);
    let mut cases = vec![
        start(50).short(0),
        wire::Bytes::default().short(60).short(0).long(5),
    ];
    if broker.is_own() {
        // RabbitMQ looks at properties only when it needs them.
        cases.push(start(60));
        cases.push(start(60).short(0x8000));
        cases.push(start(60).short(0x8000).octet(200).raw(b"shorter"));
        cases.push(start(60).short(0x2000).long(u32::MAX));
        cases.push(start(60).short(0x2000).table(b"\x01aZ"));
        cases.push(start(60).short(0).raw(b"more"));
    }
    for bytes in cases {
        let mut peer = peer_in(BetweenPublishAndHeader, &broker);
        eprintln!("a content header of {:x?}", bytes.0);
        peer.send(&wire::frame(HEADER, 1, &bytes.0));
        // The broker may look at the properties only when the content is complete.
        peer.send(&wire::frame(BODY, 1, b"hello"));
        expect_end(
            peer,
            InChannel,
            &[501, 502, 505],
            &format!("{:x?}", bytes.0),
        );
    }
    bystander.must_be_served();
}

#[test]
fn frames_for_a_closed_channel_end_the_connection() {
    let broker = Broker::start(2);
    let mut peer = Peer::open_connection(&broker);
    peer.publish(7, "nowhere", &Properties::default(), b"x");
    let refusal = peer.expect_connection_close();
    refusal.expect(504, "CHANNEL_ERROR - expected 'channel.open'", 60, 40);
    let mut peer = Peer::open(&broker);
    peer.close_channel(1);
    peer.send_declare(1, "", EXCLUSIVE);
    let refusal = peer.expect_connection_close();
    refusal.expect(504, "CHANNEL_ERROR - expected 'channel.open'", 50, 10);
}

#[test]
fn opening_an_open_channel_ends_the_connection() {
    let broker = Broker::start(2);
    let mut peer = Peer::open(&broker);
    peer.send(&method(20, 10).shortstr("").frame(1));
    let refusal = peer.expect_connection_close();
    refusal.expect(504, "CHANNEL_ERROR - second 'channel.open' seen", 20, 10);
}

#[test]
fn channel_methods_on_channel_zero_end_the_connection() {
    let broker = Broker::start(2);
    for bytes in [
        method(20, 10).shortstr(""),
        wire::publish("", "nowhere", false),
        method(50, 10)
            .short(0)
            .shortstr("")
            .octet(EXCLUSIVE)
            .table(&[]),
    ] {
        let mut peer = Peer::open(&broker);
        peer.send(&bytes.frame(0));
        expect_end(
            peer,
            InChannel,
            &[501, 503, 504],
            &format!("{:x?}", bytes.0),
        );
    }
}

#[test]
fn connection_methods_on_a_channel_end_the_connection() {
    let broker = Broker::start_own(2, "RabbitMQ's code differs by version");
    let Some(broker) = broker else { return };
    let mut peer = Peer::open(&broker);
    peer.send(&method(10, 40).shortstr("/").shortstr("").octet(0).frame(1));
    expect_end(peer, InChannel, &[503, 504], "connection.open on channel 1");
}

#[test]
fn methods_that_only_a_server_sends_are_refused() {
    let broker = Broker::start_own(2, "RabbitMQ hangs up without a word");
    let Some(broker) = broker else { return };
    let mut bystander = Bystander::start(&broker);
    for bytes in [
        method(50, 11).shortstr("q").long(0).long(0),
        method(60, 60)
            .shortstr("tag")
            .longlong(1)
            .octet(0)
            .shortstr("")
            .shortstr("q"),
        method(60, 21).shortstr("tag"),
        method(60, 72).shortstr(""),
    ] {
        let mut peer = Peer::open(&broker);
        peer.send(&bytes.frame(1));
        expect_end(
            peer,
            InChannel,
            &[503, 505, 540],
            &format!("{:x?}", bytes.0),
        );
    }
    bystander.must_be_served();
}

#[test]
fn a_channel_without_a_transaction_cannot_end_one() {
    let broker = Broker::start(2);
    let mut peer = Peer::open(&broker);
    for method_id in [20, 30] {
        peer.send(&method(90, method_id).frame(1));
        let text = "PRECONDITION_FAILED - channel is not transactional";
        peer.expect_channel_close(1)
            .expect(406, text, 90, method_id);
        peer.open_channel(1);
    }
    for method_id in [10, 20, 30] {
        peer.send(&method(90, method_id).frame(1));
        peer.expect_method(1);
    }
}

#[test]
fn many_peers_breaking_at_once_do_not_disturb_a_call() {
    let broker = Broker::start(2);
    let mut bystander = Bystander::start(&broker);
    let mut broken: Vec<_> = PHASES
        .iter()
        .cycle()
        .take(64)
        .map(|phase| peer_in(*phase, &broker))
        .collect();
    for peer in &mut broken {
        peer.send(&[0xFF; 1000]);
        bystander.must_be_served();
    }
    drop(broken);
    bystander.must_be_served();
    let mut peer = Peer::open(&broker);
    peer.publish(1, "nowhere", &Properties::default(), b"still in order");
    peer.close_connection();
}
