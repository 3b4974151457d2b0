use super::super::*;
use super::*;
use crate::sizes::Sizes;

const NOW: Timestamp = Timestamp(1_000);
const BODY_LEN: usize = 64;
const INFO: &str = "INFO {\"server_id\":\"X\",\"version\":\"2.9.10\",\"proto\":1,\"headers\":true,\
                    \"max_payload\":1048576,\"auth_required\":true} \r\n";

fn settings(purpose: NatsPurpose) -> NatsSettings {
    NatsSettings {
        username: "me".to_owned(),
        password: Some("pa\"ss".to_owned()),
        purpose,
    }
}

fn requester_purpose() -> NatsPurpose {
    NatsPurpose::requester("jobs".to_owned(), 0xfeed_f00d, 3)
}

fn worker_purpose() -> NatsPurpose {
    NatsPurpose::Worker {
        subject: "jobs".to_owned(),
    }
}

struct Side {
    client: Client,
    tally: Tally,
}

impl Side {
    fn requester() -> Side {
        let part = Part::Requester {
            run: 0xfeed_f00d,
            index: 3,
            in_flight: 2,
        };
        Side::new(requester_purpose(), part)
    }

    fn worker() -> Side {
        Side::new(worker_purpose(), Part::Worker)
    }

    fn new(purpose: NatsPurpose, part: Part) -> Side {
        Side {
            client: Client::new_nats(settings(purpose), part, Sizes::fixed(BODY_LEN), NOW),
            tally: Tally::new(Recorder::new(false, std::time::Duration::from_secs(1))),
        }
    }

    /// Past the set-up.
    fn ready(mut self) -> Side {
        self.say(INFO.as_bytes()).unwrap();
        self.said();
        self.say(b"PONG\r\n").unwrap();
        assert_eq!(self.client.standing(), Standing::Ready);
        self
    }

    fn say(&mut self, octets: &[u8]) -> Result<(), Fault> {
        self.client.handle_bytes(octets, NOW, &mut self.tally)
    }

    fn said(&mut self) -> Vec<u8> {
        self.client.take_outbound(Vec::new(), NOW)
    }

    fn issue(&mut self) -> Vec<u8> {
        self.client.issue(Outstanding {
            intended: NOW,
            sent: NOW,
            is_measured: true,
        });
        self.said()
    }
}

/// What the server makes of a PUB for the subscriber.
fn deliver(published: &[u8]) -> Vec<u8> {
    let line_len = published.iter().position(|octet| *octet == b'\r').unwrap();
    let line = std::str::from_utf8(&published[..line_len]).unwrap();
    let mut words: Vec<&str> = line.split(' ').collect();
    assert_eq!(words.remove(0), "PUB");
    words.insert(1, "1");
    let mut octets = format!("MSG {}", words.join(" ")).into_bytes();
    octets.extend_from_slice(&published[line_len..]);
    octets
}

#[test]
fn the_set_up_is_connect_subscribe_and_a_ping_that_confirms_both() {
    let mut requester = Side::requester();
    assert!(requester.said().is_empty());
    requester.say(INFO.as_bytes()).unwrap();
    let said = String::from_utf8(requester.said()).unwrap();
    assert!(said.starts_with("CONNECT {\"verbose\":false,"), "{said}");
    assert!(
        said.contains("\"user\":\"me\",\"pass\":\"pa\\\"ss\""),
        "{said}"
    );
    assert!(
        said.contains("\"headers\":true,\"no_responders\":true"),
        "{said}"
    );
    assert!(
        said.ends_with("}\r\nSUB _INBOX.feedf00d.3.* 1\r\nPING\r\n"),
        "{said}"
    );
    assert!(!requester.client.can_issue());
    requester.say(b"PO").unwrap();
    requester.say(b"NG\r\n").unwrap();
    assert!(requester.client.can_issue());
    assert_eq!(requester.client.server().unwrap().version, "2.9.10");
    let mut worker = Side::worker();
    worker.say(INFO.as_bytes()).unwrap();
    let said = String::from_utf8(worker.said()).unwrap();
    assert!(
        said.ends_with("\r\nSUB jobs workers 1\r\nPING\r\n"),
        "{said}"
    );
}

#[test]
fn a_user_without_a_password_is_a_token() {
    let mut nats = Nats::new(
        NatsSettings {
            password: None,
            ..settings(worker_purpose())
        },
        BODY_LEN,
        NOW,
    );
    let mut out = Vec::new();
    nats.split(INFO.as_bytes(), &mut out).unwrap().unwrap();
    let said = String::from_utf8(out).unwrap();
    assert!(said.contains("\"auth_token\":\"me\"}"), "{said}");
}

#[test]
fn a_call_torn_anywhere_comes_back_once() {
    let (mut requester, mut worker) = (Side::requester().ready(), Side::worker().ready());
    for sequence in 0..3 {
        let request = requester.issue();
        let head = format!("PUB jobs _INBOX.feedf00d.3.feedf00d000003{sequence:010x} 64\r\n");
        assert!(request.starts_with(head.as_bytes()));
        for octet in deliver(&request) {
            worker.say(&[octet]).unwrap();
        }
        let reply = worker.said();
        assert!(reply.starts_with(b"PUB _INBOX.feedf00d.3.feedf00d000003"));
        for piece in deliver(&reply).chunks(7) {
            requester.say(piece).unwrap();
        }
    }
    let audit = requester.client.audit().unwrap();
    assert!(audit.is_clean() && audit.returned_once == 3, "{audit:?}");
    assert!(requester.tally.errors.is_empty() && worker.tally.errors.is_empty());
}

#[test]
fn replies_of_others_twice_or_altered_are_told_apart() {
    let (mut requester, mut worker) = (Side::requester().ready(), Side::worker().ready());
    worker.say(&deliver(&requester.issue())).unwrap();
    let reply = deliver(&worker.said());
    requester.say(&reply).unwrap();
    requester.say(&reply).unwrap();
    worker.say(&deliver(&requester.issue())).unwrap();
    let mut altered = deliver(&worker.said());
    let last_at = altered.len() - 3;
    altered[last_at] ^= 1;
    requester.say(&altered).unwrap();
    requester
        .say(b"MSG _INBOX.feedf00d.3.x 1 0\r\n\r\n")
        .unwrap();
    requester.say(b"MSG a 1 0\r\n\r\n").unwrap();
    let audit = requester.client.audit().unwrap();
    assert_eq!((audit.returned_once, audit.duplicated), (1, 1));
    assert_eq!((audit.corrupted, audit.foreign), (1, 2));
}

#[test]
fn a_subject_without_listeners_fails_the_call_by_name() {
    let mut requester = Side::requester().ready();
    requester.issue();
    let status = b"HMSG _INBOX.feedf00d.3.feedf00d0000030000000000 1 16 16\r\n\
                   NATS/1.0 503\r\n\r\n\r\n";
    requester.say(status).unwrap();
    assert_eq!(requester.client.audit().unwrap().failed, 1);
    let reasons: Vec<_> = requester.tally.errors.keys().collect();
    assert_eq!(reasons, ["no responders: nobody listens to the subject"]);
}

#[test]
fn a_reply_with_headers_is_read_without_them() {
    let mut nats = Nats::new(settings(worker_purpose()), BODY_LEN, NOW);
    nats.phase = Phase::Ready;
    let octets = b"HMSG jobs 1 back 23 25\r\nNATS/1.0\r\nName: Ann\r\n\r\nhi\r\nrest";
    let octets = &octets[..];
    for end in 0..octets.len() - 4 {
        let split = nats.split(&octets[..end], &mut Vec::new());
        assert_eq!(split, Ok(None), "{end}");
    }
    let (event, len) = nats.split(octets, &mut Vec::new()).unwrap().unwrap();
    assert_eq!(len, octets.len() - 4);
    let Event::Content(Content::Delivered(delivery)) = event else {
        panic!("{event:?}")
    };
    assert_eq!(
        (delivery.reply_to, delivery.body),
        (&b"back"[..], &b"hi"[..])
    );
}

#[test]
fn pings_are_answered_and_a_silent_server_is_asked_then_given_up() {
    let mut worker = Side::worker().ready();
    worker.say(b"PING\r\n").unwrap();
    assert_eq!(worker.said(), b"PONG\r\n");
    let timeout = Duration::from_secs(1);
    let mut said_after = |seconds: u64| {
        let now = NOW.plus(Duration::from_secs(seconds));
        let handled = worker
            .client
            .handle_deadline(now, timeout, &mut worker.tally);
        handled.map(|()| worker.client.take_outbound(Vec::new(), now))
    };
    assert_eq!(said_after(29), Ok(vec![]));
    assert_eq!(said_after(30), Ok(b"PING\r\n".to_vec()));
    assert_eq!(said_after(40), Ok(vec![]));
    assert_eq!(said_after(60), Err(Fault::Silent));
}

#[test]
fn what_the_server_refuses_is_told_in_its_words() {
    let mut worker = Side::worker();
    worker.say(INFO.as_bytes()).unwrap();
    let fault = worker
        .say(b"-ERR 'Authorization Violation'\r\n")
        .unwrap_err();
    assert_eq!(fault.to_string(), "-ERR Authorization Violation");
}

#[test]
fn servers_that_cannot_take_the_load_are_refused_before_it() {
    let info = |fields: &str| format!("INFO {{\"version\":\"2\",{fields}}}\r\n");
    for greeting in [
        info("\"max_payload\":63"),
        info("\"tls_required\":true"),
        "SSH-2.0-x\r\n".to_owned(),
        "INFO {\r\n".to_owned(),
    ] {
        assert!(
            Side::worker().say(greeting.as_bytes()).is_err(),
            "{greeting}"
        );
    }
}

#[test]
fn malformed_octets_are_a_fault_and_never_a_panic() {
    for octets in [
        &b"MSG a 1\r\n"[..],
        b"MSG a 1 b 2 3 4\r\n",
        b"MSG a 1 -1\r\n",
        b"MSG a 1 99999999999999999999999\r\n",
        b"MSG a 1 2\r\nabcd",
        b"HMSG a 1 3\r\n",
        b"HMSG a 1 4 3\r\nabc\r\n",
        b"WHAT\r\n",
        b"\r\n",
    ] {
        let text = String::from_utf8_lossy(octets).into_owned();
        assert!(Side::worker().ready().say(octets).is_err(), "{text}");
    }
    let endless = vec![b'x'; LINE_LEN_MAX + 1];
    assert!(Side::worker().ready().say(&endless).is_err());
    assert!(Side::worker().say(b"MSG a 1 0\r\n\r\n").is_err());
}

#[test]
fn lengths_are_written_in_digits() {
    for value in [0, 7, 10, 64, 1_048_576, usize::MAX] {
        let mut out = Vec::new();
        push_decimal(&mut out, value);
        assert_eq!(out, value.to_string().into_bytes());
    }
}
