//! What no client should do: on a channel, which it costs, or on the connection.

use super::acts::REPLY_TO;
use super::{Peer, Phase};
use crate::oracle::{Act, Effect, QueueRef, Verdict};
use crate::wire::{encode, encode_method};
use crate::world::World;
use amq_protocol::frame::AMQPFrame;
use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic::{AMQPMethod as Basic, Ack, Consume, Get, Publish};
use amq_protocol::protocol::channel::{self, AMQPMethod as ChannelMethod};
use amq_protocol::protocol::connection::{self, AMQPMethod as ConnectionMethod};
use amq_protocol::protocol::queue::{self, AMQPMethod as Queue};
use amq_protocol::protocol::tx::{self, AMQPMethod as Tx};
use broker::engine::time::Timestamp;

impl Peer {
    /// Costs the channel.
    pub(super) fn misbehave(&mut self, world: &mut World, number: u16) {
        let none = || "none".into();
        let (method, codes): (AMQPClass, &'static [u16]) = match world.dice.roll(7) {
            0 => {
                let delivery_tag = 1_000_000;
                let ack = Ack {
                    delivery_tag,
                    multiple: world.dice.one_in(2),
                };
                (AMQPClass::Basic(Basic::Ack(ack)), &[406])
            }
            1 => {
                let declare = queue::Declare {
                    queue: none(),
                    passive: true,
                    ..queue::Declare::default()
                };
                (AMQPClass::Queue(Queue::Declare(declare)), &[404])
            }
            2 => {
                let declare = queue::Declare {
                    queue: "amq.mine".into(),
                    ..queue::Declare::default()
                };
                (AMQPClass::Queue(Queue::Declare(declare)), &[403])
            }
            3 => {
                let declare = queue::Declare {
                    queue: "s0".into(),
                    durable: true,
                    ..queue::Declare::default()
                };
                (AMQPClass::Queue(Queue::Declare(declare)), &[406])
            }
            4 => {
                let bind = queue::Bind {
                    queue: "s0".into(),
                    exchange: none(),
                    ..queue::Bind::default()
                };
                (AMQPClass::Queue(Queue::Bind(bind)), &[404])
            }
            5 => {
                // A reply consumer that would acknowledge.
                let consume = Consume {
                    queue: REPLY_TO.into(),
                    ..Consume::default()
                };
                (AMQPClass::Basic(Basic::Consume(consume)), &[406])
            }
            _ => return self.publish_wrongly(world, number),
        };
        let effect = match &method {
            AMQPClass::Basic(Basic::Consume(_)) => Effect::AddConsumer {
                tag: None,
                queue: QueueRef::Loose,
                no_ack: false,
                prefetch: 0,
                asked_at: Timestamp::default(),
            },
            _ => Effect::None,
        };
        self.ask(world, number, method, Verdict::Must(codes), (effect, false));
    }

    /// Octets that are no frames, in the middle of whatever it was about to say.
    pub fn babble(&mut self, world: &mut World) {
        if matches!(self.phase, Phase::Away | Phase::Doomed) {
            return;
        }
        let len = 8 + world.dice.roll(40);
        let octets: Vec<u8> = (0..len).map(|_| 128 + world.dice.roll(128) as u8).collect();
        self.phase = Phase::Doomed;
        self.unfinished = None;
        self.greeting.clear();
        self.write(world, &octets, Some(Act::Wild(&[501])));
    }

    /// Costs the connection, and is the last that it says.
    pub(super) fn go_wild(&mut self, world: &mut World) {
        if self.unfinished.is_some() {
            return;
        }
        let open = self.open_channels();
        let Some(number) = open.first().copied() else {
            return;
        };
        let method = |class| encode_method(number, class);
        let basic = |basic| encode_method(number, AMQPClass::Basic(basic));
        let publish = |immediate| {
            basic(Basic::Publish(Publish {
                immediate,
                ..Publish::default()
            }))
        };
        let (octets, codes): (Vec<u8>, &'static [u16]) = match world.dice.roll(17) {
            0 => (b"GET / HTTP/1.1\r\n\r\n".to_vec(), &[501]),
            1 => (vec![255; 1 + 8 * (1 + world.dice.roll(5))], &[501]),
            2 => (b"\x08\0\x01\0\0\0\0\xce".to_vec(), &[501]),
            3 => (encode(&AMQPFrame::Body(number, vec![1])), &[505]),
            4 => (encode(&AMQPFrame::Body(0, vec![1])), &[504]),
            5 => ([publish(false), publish(false)].concat(), &[505]),
            6 => (publish(true), &[540]),
            7 => (method(AMQPClass::Channel(open_channel())), &[504]),
            8 => (method(AMQPClass::Tx(Tx::SelectOk(tx::SelectOk {}))), &[503]),
            9 => {
                let class = AMQPClass::Basic(Basic::Get(Get::default()));
                (encode_method(77, class), &[504])
            }
            10 => {
                let open = ConnectionMethod::Open(connection::Open {
                    virtual_host: "/".into(),
                });
                (encode_method(0, AMQPClass::Connection(open)), &[503])
            }
            // An unknown method of class basic.
            11 => (raw_method(number, &[0, 60, 0, 99]), &[503, 540]),
            12 => (raw_method(number, &[0, 60, 0, 10, 1]), &[502]),
            13 => (raw_method(number, &[0]), &[502, 503]),
            14 => (b"\x01\0\x01\xff\xff\xff\xff".to_vec(), &[501]),
            _ => {
                let mut frame = raw_method(number, &[0, 60, 0, 110, 1]);
                frame.pop();
                frame.push(0);
                (frame, &[501])
            }
        };
        self.phase = Phase::Doomed;
        self.write(world, &octets, Some(Act::Wild(codes)));
    }
}

fn open_channel() -> ChannelMethod {
    ChannelMethod::Open(channel::Open {})
}

fn raw_method(number: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![1];
    frame.extend(number.to_be_bytes());
    frame.extend((payload.len() as u32).to_be_bytes());
    frame.extend(payload);
    frame.push(0xce);
    frame
}
