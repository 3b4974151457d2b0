//! Peers that know the protocol: the handshake, channels, publishing, asking.

use super::heard::{Content, Heard};
pub use super::methods::*;
use super::world::{Peer, World};
use amq_protocol::frame::AMQPFrame;
use amq_protocol::protocol::basic::AMQPProperties;
use amq_protocol::protocol::{basic, channel, connection};
use amq_protocol::types::{AMQPValue, FieldTable};

/// What a client says of itself on its way in.
#[derive(Clone)]
pub struct Hello {
    pub address: &'static str,
    pub mechanism: &'static str,
    pub response: Vec<u8>,
    pub capabilities: &'static [&'static str],
    pub tune_ok: connection::TuneOk,
    pub vhost: &'static str,
}

impl Default for Hello {
    fn default() -> Hello {
        Hello {
            address: "127.0.0.1:5000",
            mechanism: "PLAIN",
            response: b"\0guest\0secret".to_vec(),
            capabilities: &[
                "authentication_failure_close",
                "consumer_cancel_notify",
                "connection.blocked",
            ],
            tune_ok: connection::TuneOk {
                channel_max: 2047,
                frame_max: 131_072,
                heartbeat: 0,
            },
            vhost: "/",
        }
    }
}

impl Hello {
    pub fn start_ok(&self) -> connection::StartOk {
        let mut capabilities = FieldTable::default();
        for name in self.capabilities {
            capabilities.insert((*name).into(), AMQPValue::Boolean(true));
        }
        let mut client_properties = FieldTable::default();
        client_properties.insert("capabilities".into(), AMQPValue::FieldTable(capabilities));
        connection::StartOk {
            client_properties,
            mechanism: self.mechanism.into(),
            response: self.response.clone().into(),
            locale: "en_US".into(),
        }
    }
}

impl World {
    /// A peer with a connection and channel 1 open, and nothing heard.
    pub fn connect(&mut self, place: usize) -> Peer {
        self.connect_as(place, &Hello::default())
    }

    pub fn connect_as(&mut self, place: usize, hello: &Hello) -> Peer {
        let peer = self.greet(place, hello);
        assert_eq!(
            self.lines(peer).last().map(String::as_str),
            Some("0 open-ok")
        );
        self.open(peer, 1);
        peer
    }

    /// The whole handshake, whatever it comes to.
    pub fn greet(&mut self, place: usize, hello: &Hello) -> Peer {
        let peer = self
            .accept(place, hello.address)
            .expect("room for one more");
        self.write(peer, b"AMQP\0\0\x09\x01");
        self.call(peer, 0, hello.start_ok());
        if self.end_of(peer).is_none() {
            self.call(peer, 0, hello.tune_ok.clone());
            let virtual_host = hello.vhost.into();
            self.call(peer, 0, connection::Open { virtual_host });
        }
        peer
    }

    /// Opens a channel.
    pub fn open(&mut self, peer: Peer, number: u16) {
        self.call(peer, number, channel::Open {});
        let expected = format!("{number} channel.open-ok");
        assert_eq!(self.lines(peer).last(), Some(&expected));
    }

    /// Writes a method; `run` executes it.
    pub fn send(&mut self, peer: Peer, number: u16, method: impl Method) {
        let frame = AMQPFrame::Method(number, method.class());
        self.write(peer, &encode(&frame));
    }

    /// Writes a method and runs.
    pub fn call(&mut self, peer: Peer, number: u16, method: impl Method) {
        self.send(peer, number, method);
        self.run();
    }

    /// Writes a method, runs, and gives what the peer has heard since.
    pub fn ask(&mut self, peer: Peer, number: u16, method: impl Method) -> Vec<String> {
        self.call(peer, number, method);
        self.lines(peer)
    }

    /// Writes a message to a queue on channel 1.
    pub fn publish(&mut self, peer: Peer, queue: &str, body: &str) {
        self.publish_with(peer, 1, to("", queue), &AMQPProperties::default(), body);
    }

    pub fn publish_with(
        &mut self,
        peer: Peer,
        number: u16,
        publish: basic::Publish,
        properties: &AMQPProperties,
        body: impl AsRef<[u8]>,
    ) {
        let frames = publish_frames(number, publish, properties, body.as_ref(), 100_000);
        self.write(peer, &frames.concat());
    }

    /// Deliveries, gets and returns that the peer has heard; the rest is dropped.
    pub fn contents(&mut self, peer: Peer) -> Vec<Content> {
        let heard = self.heard(peer).into_iter();
        heard.filter_map(Heard::content).collect()
    }

    pub fn bodies(&mut self, peer: Peer) -> Vec<String> {
        self.contents(peer).iter().map(Content::text).collect()
    }

    /// The closing handshake of a channel that the broker has closed.
    pub fn reopen(&mut self, peer: Peer, number: u16) {
        self.call(peer, number, channel::CloseOk {});
        self.open(peer, number);
    }

    /// Sets a reply consumer `t` on channel 1 and gives its full name.
    pub fn reply_name(&mut self, peer: Peer) -> String {
        self.call(peer, 1, consume_auto(REPLY_TO, "t"));
        self.full_reply_name(peer, REPLY_TO)
    }

    /// What workers see in place of `spelling`.
    pub fn full_reply_name(&mut self, peer: Peer, spelling: &str) -> String {
        self.call(peer, 1, declare("names"));
        self.publish_with(peer, 1, to("", "names"), &with_reply_to(spelling), "");
        self.call(peer, 1, get_auto("names"));
        let name = self.contents(peer).remove(0).reply_to();
        assert_eq!(self.ask(peer, 1, delete("names")), ["1 delete-ok 0"]);
        name
    }
}
