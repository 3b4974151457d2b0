//! The other end of a connection: writes and reads what the sockets take and give, never waits.

use crate::engine::wire::frame::FRAME_END;
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

pub(super) struct Peer {
    stream: Option<TcpStream>,
    unwritten: Vec<u8>,
    pub(super) heard: Vec<u8>,
    /// Octets that one look at the socket takes out of it; none: it does not read.
    pub(super) read_len: usize,
    pub(super) has_ended: bool,
}

impl Peer {
    pub(super) fn new(stream: TcpStream) -> Peer {
        stream.set_nonblocking(true).unwrap();
        Peer {
            stream: Some(stream),
            unwritten: Vec::new(),
            heard: Vec::new(),
            read_len: 64 * 1024,
            has_ended: false,
        }
    }

    pub(super) fn say(&mut self, octets: &[u8]) {
        self.unwritten.extend_from_slice(octets);
    }

    pub(super) fn has_said_all(&self) -> bool {
        self.unwritten.is_empty()
    }

    /// Moves what can be moved.
    pub(super) fn look(&mut self) {
        if !self.unwritten.is_empty() {
            self.write(self.unwritten.len());
        }
        let mut chunk = vec![0; self.read_len];
        if let Some(stream) = &mut self.stream
            && self.read_len > 0
            && !self.has_ended
        {
            match stream.read(&mut chunk) {
                Ok(0) => self.has_ended = true,
                Ok(len) => self.heard.extend_from_slice(&chunk[..len]),
                Err(error) => self.has_ended = error.kind() != ErrorKind::WouldBlock,
            }
        }
    }

    /// Writes so many of the octets that it has to say, if the socket takes them.
    pub(super) fn write(&mut self, len: usize) {
        let len = len.min(self.unwritten.len());
        if let Some(stream) = &mut self.stream {
            // A connection that is gone takes nothing; the read says so.
            let written = stream.write(&self.unwritten[..len]).unwrap_or(0);
            self.unwritten.drain(..written);
        }
    }

    pub(super) fn stop_writing(&mut self) {
        if let Some(stream) = &self.stream {
            // Fails if the connection is gone.
            let _ = stream.shutdown(Shutdown::Write);
        }
    }

    pub(super) fn reset(&mut self) {
        if let Some(stream) = self.stream.take() {
            let linger = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            linger.unwrap();
        }
        self.has_ended = true;
    }

    /// The octets of all whole body frames heard.
    pub(super) fn bodies(&self) -> Vec<u8> {
        let (mut bodies, mut rest) = (Vec::new(), self.heard.as_slice());
        while let Some((kind, payload, tail)) = split_frame(rest) {
            if kind == BODY {
                bodies.extend_from_slice(payload);
            }
            rest = tail;
        }
        bodies
    }

    /// The last method heard: class and method.
    pub(super) fn last_method(&self) -> Option<[u8; 4]> {
        let (mut last, mut rest) = (None, self.heard.as_slice());
        while let Some((kind, payload, tail)) = split_frame(rest) {
            if kind == METHOD {
                last = payload.first_chunk().copied();
            }
            rest = tail;
        }
        last
    }
}

fn split_frame(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<7>()?;
    let len = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
    let (payload, rest) = rest.split_at_checked(len)?;
    let (end, rest) = rest.split_first()?;
    assert_eq!(*end, FRAME_END, "octets were lost or changed their order");
    Some((head[0], payload, rest))
}

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;

pub(super) const CONNECTION_CLOSE: [u8; 4] = [0, 10, 0, 50];
pub(super) const CONNECTION_CLOSE_OK: [u8; 4] = [0, 10, 0, 51];

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(channel.to_be_bytes());
    bytes.extend((payload.len() as u32).to_be_bytes());
    bytes.extend(payload);
    bytes.push(FRAME_END);
    bytes
}

fn method(channel: u16, ids: [u8; 2], arguments: &[&[u8]]) -> Vec<u8> {
    let payload = [&[0, ids[0], 0, ids[1]], arguments.concat().as_slice()].concat();
    frame(METHOD, channel, &payload)
}

fn short_string(text: &str) -> Vec<u8> {
    [&[text.len() as u8], text.as_bytes()].concat()
}

const NO_TABLE: &[u8] = &[0; 4];

/// A whole handshake at once, and channel 1.
pub(super) fn hello() -> Vec<u8> {
    let start_ok = [
        NO_TABLE,
        &short_string("PLAIN"),
        b"\0\0\0\x0D\0guest\0secret",
        &short_string("en_US"),
    ];
    [
        b"AMQP\0\0\x09\x01".to_vec(),
        method(0, [10, 11], &start_ok),
        method(0, [10, 31], &[&[0, 10, 0, 2, 0, 0, 0, 0]]),
        method(0, [10, 40], &[&short_string("/"), &[0, 0]]),
        method(1, [20, 10], &[&[0]]),
    ]
    .concat()
}

pub(super) fn declare(queue: &str) -> Vec<u8> {
    let queue = short_string(queue);
    let arguments = [&[0, 0], queue.as_slice(), &[0], NO_TABLE];
    method(1, [50, 10], &arguments)
}

/// Without acknowledgements.
pub(super) fn consume(queue: &str) -> Vec<u8> {
    let queue = short_string(queue);
    let arguments = [&[0, 0], queue.as_slice(), &[0, 2], NO_TABLE];
    method(1, [60, 20], &arguments)
}

pub(super) fn publish(queue: &str, body: &[u8]) -> Vec<u8> {
    let queue = short_string(queue);
    let arguments = [&[0, 0, 0], queue.as_slice(), &[0]];
    let mut bytes = method(1, [60, 40], &arguments);
    let body_len = (body.len() as u64).to_be_bytes();
    let header = [&[0, 60, 0, 0], body_len.as_slice(), &[0, 0]].concat();
    bytes.extend(frame(HEADER, 1, &header));
    for part in body.chunks(100_000) {
        bytes.extend(frame(BODY, 1, part));
    }
    bytes
}

/// Without acknowledgement.
pub(super) fn get(queue: &str) -> Vec<u8> {
    let queue = short_string(queue);
    let arguments = [&[0, 0], queue.as_slice(), &[1]];
    method(1, [60, 70], &arguments)
}

pub(super) fn close() -> Vec<u8> {
    method(0, [10, 50], &[&[0, 200, 0, 0, 0, 0, 0]])
}
