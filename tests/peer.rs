//! A raw AMQP peer on a blocking socket: it sends any bytes it is told to, and reads what the
//! broker sends with `amq-protocol`, an implementation that is not the broker's.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use amq_protocol::frame::{AMQPFrame, parse_frame};
use amq_protocol::protocol::channel::AMQPMethod as Channel;
use amq_protocol::protocol::connection::{AMQPMethod as Connection, Tune};
use amq_protocol::protocol::{AMQPClass, channel, connection};
use socket2::SockRef;

use crate::wire::{self, BODY, Bytes, FRAME_END, HEADER, HEARTBEAT, METHOD, method};
use crate::{Broker, PATIENCE};

/// One frame from the broker.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub channel: u16,
    pub payload: Vec<u8>,
}

pub struct Peer {
    stream: TcpStream,
    inbox: Vec<u8>,
    pub frame_max: u32,
}

/// Why the broker closed a channel or the connection.
#[derive(Debug)]
pub struct Refusal {
    pub code: u16,
    pub text: String,
    pub class_id: u16,
    pub method_id: u16,
}

impl Refusal {
    #[track_caller]
    pub fn expect(&self, code: u16, text_start: &str, class_id: u16, method_id: u16) {
        let matches = self.code == code
            && self.text.starts_with(text_start)
            && (self.class_id, self.method_id) == (class_id, method_id);
        assert!(
            matches,
            "not {code} '{text_start}..' of {class_id}.{method_id}: {self:?}"
        );
    }
}

// Connecting.
impl Peer {
    pub fn connect(broker: &Broker) -> Peer {
        let stream = TcpStream::connect(broker.address()).expect("the broker listens");
        stream
            .set_nodelay(true)
            .expect("TCP sockets have this option");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("TCP sockets have this option");
        Peer {
            stream,
            inbox: Vec::new(),
            frame_max: 131_072,
        }
    }

    /// A connection that has been opened, with the broker's tuning and no heartbeat.
    pub fn open_connection(broker: &Broker) -> Peer {
        Peer::open_tuned(broker, 131_072, 0)
    }

    pub fn open_tuned(broker: &Broker, frame_max: u32, heartbeat_s: u16) -> Peer {
        let mut peer = Peer::connect(broker);
        peer.shake_hands_until_tune();
        peer.agree(frame_max, heartbeat_s);
        peer
    }

    /// An open connection with channel 1 open, of a peer that wants to hear of
    /// `connection.blocked`.
    pub fn open_for_blocked(broker: &Broker) -> Peer {
        Peer::open_where_room(broker).expect("the broker has room")
    }

    /// The same, or `None` if the broker closes the connection at once.
    pub fn open_where_room(broker: &Broker) -> Option<Peer> {
        let mut peer = Peer::connect(broker);
        peer.send(wire::PROTOCOL_HEADER);
        if !peer.receive() {
            return None;
        }
        peer.log_in(&["connection.blocked"]);
        peer.agree(131_072, 0);
        peer.open_channel(1);
        Some(peer)
    }

    /// A connection that has sent its protocol header: open, with channel 1 open, if the broker
    /// answers within `time`; else it is for [`Peer::open_late`].
    pub fn try_open(broker: &Broker, time: Duration) -> Result<Peer, Peer> {
        let mut peer = Peer::connect(broker);
        peer.send(wire::PROTOCOL_HEADER);
        if peer.is_silent_for(time) {
            return Err(peer);
        }
        peer.open_late();
        Ok(peer)
    }

    /// What is left to do after the protocol header.
    pub fn open_late(&mut self) {
        self.log_in(&CAPABILITIES);
        self.agree(131_072, 0);
        self.open_channel(1);
    }

    fn agree(&mut self, frame_max: u32, heartbeat_s: u16) {
        self.send(&tune_ok(2047, frame_max, heartbeat_s).frame(0));
        self.frame_max = frame_max;
        self.open_vhost("/");
        match self.expect_method(0) {
            AMQPClass::Connection(Connection::OpenOk(_)) => {}
            other => panic!("not connection.open-ok: {other:?}"),
        }
    }

    /// An open connection with channel 1 open.
    pub fn open(broker: &Broker) -> Peer {
        let mut peer = Peer::open_connection(broker);
        peer.open_channel(1);
        peer
    }

    pub fn shake_hands_until_tune(&mut self) -> Tune {
        self.send(wire::PROTOCOL_HEADER);
        self.log_in(&CAPABILITIES)
    }

    fn log_in(&mut self, capabilities: &[&str]) -> Tune {
        self.expect_start();
        let answer = Bytes::default()
            .shortstr("PLAIN")
            .longstr(b"\0guest\0guest");
        let start_ok = method(10, 11).table(&client_properties(capabilities));
        self.send(&start_ok.raw(&answer.shortstr("en_US").0).frame(0));
        match self.expect_method(0) {
            AMQPClass::Connection(Connection::Tune(tune)) => tune,
            other => panic!("not connection.tune: {other:?}"),
        }
    }

    pub fn expect_start(&mut self) -> connection::Start {
        match self.expect_method(0) {
            AMQPClass::Connection(Connection::Start(start)) => start,
            other => panic!("not connection.start: {other:?}"),
        }
    }

    pub fn open_vhost(&mut self, vhost: &str) {
        self.send(
            &method(10, 40)
                .shortstr(vhost)
                .shortstr("")
                .octet(0)
                .frame(0),
        );
    }

    pub fn open_channel(&mut self, id: u16) {
        self.send(&method(20, 10).shortstr("").frame(id));
        match self.expect_method(id) {
            AMQPClass::Channel(Channel::OpenOk(_)) => {}
            other => panic!("not channel.open-ok: {other:?}"),
        }
    }
}

// Sending and receiving.
impl Peer {
    /// Sends bytes; a broker that has closed the connection already is no failure of the sender.
    pub fn send(&mut self, bytes: &[u8]) {
        if let Err(error) = self.stream.write_all(bytes) {
            let gone = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
            assert!(gone.contains(&error.kind()), "cannot send: {error}");
        }
    }

    /// Small writes wait for the acknowledgement of what went before, as is the default of sockets.
    pub fn switch_nagle_on(&self) {
        self.stream
            .set_nodelay(false)
            .expect("TCP sockets have this option");
    }

    pub fn stop_sending(&self) {
        // A connection that is closed already has nothing to shut down.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .expect("TCP sockets have this option");
    }

    /// Bytes as they come, until the broker closes the connection.
    pub fn read_to_close(&mut self) -> Vec<u8> {
        while self.receive() {}
        std::mem::take(&mut self.inbox)
    }

    /// Waits for bytes; false if the connection is closed.
    fn receive(&mut self) -> bool {
        let mut bytes = [0; 16 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(0) => false,
            Ok(len) => {
                self.inbox.extend_from_slice(&bytes[..len]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("nothing came from the broker: {error}"),
        }
    }

    /// The next frame, heartbeats too; `None` when the connection is closed.
    pub fn next_frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.split_frame() {
                return Some(frame);
            }
            if !self.receive() {
                assert!(
                    self.inbox.is_empty(),
                    "closed in a frame: {:x?}",
                    self.inbox
                );
                return None;
            }
        }
    }

    fn split_frame(&mut self) -> Option<Frame> {
        let head = self.inbox.first_chunk::<7>()?;
        let kind = head[0];
        assert!(
            [METHOD, HEADER, BODY, HEARTBEAT].contains(&kind),
            "no frame: {:x?}",
            self.inbox
        );
        let channel = u16::from_be_bytes([head[1], head[2]]);
        let len = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
        assert!(
            len + 8 <= self.frame_max,
            "a frame of {len} octets exceeds what was agreed"
        );
        let end = 7 + len as usize;
        let last = *self.inbox.get(end)?;
        assert_eq!(
            last, FRAME_END,
            "a frame of {len} octets does not end with 0xCE"
        );
        let payload = self.inbox[7..end].to_vec();
        self.inbox.drain(..=end);
        Some(Frame {
            kind,
            channel,
            payload,
        })
    }

    /// The next method on `channel`; any other frame but a heartbeat fails the test.
    #[track_caller]
    pub fn expect_method(&mut self, channel: u16) -> AMQPClass {
        let frame = self.expect_frame();
        assert_eq!((frame.kind, frame.channel), (METHOD, channel), "{frame:?}");
        frame.decode_method()
    }

    /// The next frame that is no heartbeat.
    #[track_caller]
    pub fn expect_frame(&mut self) -> Frame {
        loop {
            let frame = self.next_frame().expect("the connection stays open");
            if frame.kind != HEARTBEAT {
                return frame;
            }
        }
    }

    /// True if nothing comes from the broker for `time`. Only for what must *not* happen.
    pub fn is_silent_for(&mut self, time: Duration) -> bool {
        self.stream
            .set_read_timeout(Some(time))
            .expect("the time is not zero");
        let mut byte = [0];
        let silent = self.inbox.is_empty() && self.stream.peek(&mut byte).is_err();
        self.stream
            .set_read_timeout(Some(PATIENCE))
            .expect("TCP sockets have this option");
        silent
    }

    /// Waits for the broker to close the connection without a word; says how long it took.
    pub fn expect_hang_up(&mut self) -> Duration {
        let began = Instant::now();
        while let Some(frame) = self.next_frame() {
            assert_eq!(frame.kind, HEARTBEAT, "not a hang-up: {frame:?}");
        }
        began.elapsed()
    }
}

// Errors.
impl Peer {
    #[track_caller]
    pub fn expect_channel_close(&mut self, channel: u16) -> Refusal {
        let close = match self.expect_method(channel) {
            AMQPClass::Channel(Channel::Close(close)) => close,
            other => panic!("not channel.close: {other:?}"),
        };
        self.send(&method(20, 41).frame(channel));
        let channel::Close {
            reply_code,
            reply_text,
            class_id,
            method_id,
        } = close;
        Refusal {
            code: reply_code,
            text: reply_text.to_string(),
            class_id,
            method_id,
        }
    }

    /// Waits for `connection.close`, answers it, and waits for the socket to close.
    #[track_caller]
    pub fn expect_connection_close(&mut self) -> Refusal {
        self.expect_close_or_hang_up()
            .expect("connection.close comes before the end")
    }

    /// `None` if the socket closed without `connection.close`.
    #[track_caller]
    pub fn expect_close_or_hang_up(&mut self) -> Option<Refusal> {
        let frame = loop {
            let frame = self.next_frame()?;
            if frame.channel == 0 && frame.kind == METHOD {
                break frame;
            }
        };
        let close = match frame.decode_method() {
            AMQPClass::Connection(Connection::Close(close)) => close,
            other => panic!("not connection.close: {other:?}"),
        };
        self.send(&method(10, 51).frame(0));
        while self.next_frame().is_some() {}
        let connection::Close {
            reply_code,
            reply_text,
            class_id,
            method_id,
        } = close;
        Some(Refusal {
            code: reply_code,
            text: reply_text.to_string(),
            class_id,
            method_id,
        })
    }

    /// Closes the channel in good order and waits for the broker's word.
    #[track_caller]
    pub fn close_channel(&mut self, channel: u16) {
        let close = method(20, 40).short(200).shortstr("done").short(0).short(0);
        self.send(&close.frame(channel));
        match self.expect_method(channel) {
            AMQPClass::Channel(Channel::CloseOk(_)) => {}
            other => panic!("not channel.close-ok: {other:?}"),
        }
    }

    #[track_caller]
    pub fn close_connection(&mut self) {
        self.send(
            &method(10, 50)
                .short(200)
                .shortstr("done")
                .short(0)
                .short(0)
                .frame(0),
        );
        match self.expect_method(0) {
            AMQPClass::Connection(Connection::CloseOk(_)) => {}
            other => panic!("not connection.close-ok: {other:?}"),
        }
        self.stop_sending();
        self.expect_hang_up();
    }
}

impl Frame {
    pub fn decode_method(&self) -> AMQPClass {
        let bytes = wire::frame(self.kind, self.channel, &self.payload);
        match parse_frame(bytes.as_slice()) {
            Ok((_, AMQPFrame::Method(_, class))) => class,
            other => panic!("not a method that amq-protocol can read: {other:?}"),
        }
    }
}

/// Among them the wish for `connection.close` when the password is wrong.
const CAPABILITIES: [&str; 2] = ["authentication_failure_close", "consumer_cancel_notify"];

pub fn start_ok(mechanism: &str, response: &[u8]) -> Bytes {
    method(10, 11)
        .table(&client_properties(&CAPABILITIES))
        .shortstr(mechanism)
        .longstr(response)
        .shortstr("en_US")
}

fn client_properties(capabilities: &[&str]) -> Vec<u8> {
    let yes = |name: &&str| Bytes::default().shortstr(name).raw(b"t\x01").0;
    let inner: Vec<u8> = capabilities.iter().flat_map(yes).collect();
    Bytes::default()
        .shortstr("capabilities")
        .octet(b'F')
        .table(&inner)
        .0
}

pub fn tune_ok(channel_max: u16, frame_max: u32, heartbeat_s: u16) -> Bytes {
    method(10, 31)
        .short(channel_max)
        .long(frame_max)
        .short(heartbeat_s)
}
