//! One message into a queue and out of it, by basic.publish and basic.get, with and without an
//! acknowledgement, at several depths.

use amq_protocol::protocol::{AMQPClass, basic};
use benches::bytes::{ACK_TAG_AT, CHANNEL, encode_ack, publish, short_string};
use benches::world::World;
use broker::engine::wire::method::encode_method;
use criterion::{Criterion, criterion_group, criterion_main};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const QUEUE: &[u8] = b"bench.queue";

fn get(no_ack: bool) -> Vec<u8> {
    let mut octets = Vec::new();
    let get = AMQPClass::Basic(basic::AMQPMethod::Get(basic::Get {
        queue: short_string(QUEUE),
        no_ack,
    }));
    encode_method(&mut octets, CHANNEL, &get);
    octets
}

fn push_and_pop(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue");
    for (name, no_ack) in [("auto ack", true), ("ack", false)] {
        for depth in [0, 100_000] {
            let mut world = World::new(1);
            let peer = world.connect(0);
            world.declare(peer, QUEUE);
            let publish = publish(QUEUE, None, &[0x5A; 64]);
            for _ in 0..depth {
                world.feed(peer, &publish);
            }
            let mut ack = Vec::new();
            encode_ack(&mut ack);
            let mut turn = publish.clone();
            turn.extend_from_slice(&get(no_ack));
            let mut tag = 0u64;
            group.bench_function(
                format!("push and pop, {name}, {depth} waiting"),
                |bencher| {
                    bencher.iter(|| {
                        world.feed(peer, &turn);
                        world.expect_received(peer, publish.len());
                        tag += 1;
                        if !no_ack {
                            ack[ACK_TAG_AT..][..8].copy_from_slice(&tag.to_be_bytes());
                            world.feed(peer, &ack);
                        }
                    });
                },
            );
        }
    }
    group.finish();
}

criterion_group!(benches, push_and_pop);
criterion_main!(benches);
