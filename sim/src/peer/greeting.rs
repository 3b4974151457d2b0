//! The handshake, in one breath or step by step, sometimes wrong.

use super::{Kind, Peer, Phase};
use crate::oracle::Act;
use crate::wire::encode_method;
use crate::world::World;
use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::connection::{AMQPMethod, Open, StartOk, TuneOk};
use amq_protocol::types::{AMQPValue, FieldTable};

const HEADER: &[u8] = b"AMQP\0\0\x09\x01";

impl Peer {
    /// Connects and begins to greet.
    pub fn arrive(&mut self, world: &mut World, shard: Option<u16>) {
        let link = match shard {
            Some(shard) => world.connect_to(shard),
            None => world.connect(),
        };
        let Some(link) = link else { return };
        self.link = Some(link);
        self.phase = Phase::Greeting;
        self.greeting = self.greeting(world);
        let is_hasty = world.dice.one_in(2);
        let count = if is_hasty { self.greeting.len() } else { 1 };
        for _ in 0..count {
            self.greet_on(world);
        }
    }

    /// The next step.
    pub(super) fn greet_on(&mut self, world: &mut World) {
        let Some((octets, act)) = self.greeting.pop_front() else {
            return;
        };
        if matches!(act, Some(Act::Wild(_))) {
            self.greeting.clear();
            self.phase = Phase::Doomed;
        }
        self.write(world, &octets, act);
    }

    fn greeting(
        &mut self,
        world: &mut World,
    ) -> std::collections::VecDeque<(Vec<u8>, Option<Act>)> {
        let dice = &mut world.dice;
        let swarm = &world.swarm;
        let mistake = match self.kind {
            Kind::Wild => dice.roll(30),
            _ => usize::MAX,
        };
        self.frame_max = dice.pick(&[4096, 4096, swarm.frame_len_max as usize]);
        self.channel_max = swarm.channel_max.min(dice.pick(&[1, 3, 2047]));
        self.heartbeat_s = match self.kind {
            Kind::Clerk => 0,
            _ => dice.pick(&[0, 0, swarm.heartbeat_s]),
        };
        let is_able = dice.one_in(2) || self.kind == Kind::Clerk;
        let start_ok = StartOk {
            client_properties: client_properties(is_able),
            mechanism: "PLAIN".into(),
            response: if mistake == 1 {
                "\0guest\0"
            } else {
                "\0guest\0guest"
            }
            .into(),
            locale: "en_US".into(),
        };
        let mut tune_ok = TuneOk {
            channel_max: self.channel_max,
            frame_max: self.frame_max as u32,
            heartbeat: self.heartbeat_s,
        };
        match mistake {
            2 => tune_ok.frame_max = 100,
            3 => tune_ok.frame_max = u32::MAX,
            _ => {}
        }
        let virtual_host = if mistake == 4 { "/none" } else { "/" }.into();
        let tuned = match mistake {
            2 | 3 => Act::Wild(&[530]),
            _ => Act::TuneOk {
                frame_max: tune_ok.frame_max,
                heartbeat_s: tune_ok.heartbeat,
            },
        };
        let method = |method| encode_method(0, AMQPClass::Connection(method));
        let wild = |number, codes| (mistake == number).then_some(Act::Wild(codes));
        let header = if mistake == 0 { b"HTTP/1.1" } else { HEADER };
        let steps = [
            (header.to_vec(), wild(0, &[])),
            (method(AMQPMethod::StartOk(start_ok)), wild(1, &[403])),
            (method(AMQPMethod::TuneOk(tune_ok)), Some(tuned)),
            (
                method(AMQPMethod::Open(Open { virtual_host })),
                wild(4, &[530]),
            ),
        ];
        steps.into()
    }
}

fn client_properties(is_able: bool) -> FieldTable {
    let mut capabilities = FieldTable::default();
    for name in [
        "authentication_failure_close",
        "consumer_cancel_notify",
        "connection.blocked",
    ] {
        capabilities.insert(name.into(), AMQPValue::Boolean(is_able));
    }
    let mut properties = FieldTable::default();
    properties.insert("capabilities".into(), AMQPValue::FieldTable(capabilities));
    properties
}
