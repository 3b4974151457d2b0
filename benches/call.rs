//! What the engine alone adds to one call: publish, deliver, reply, deliver, in memory.
//!
//! The bytes a client would send are built once and fed again and again, so only the engine's
//! own work is inside the measured time.

use benches::world::{Acknowledge, Call, Placement, Reply};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BODY_LEN: usize = 64;
const BATCH_LEN: usize = 16;

fn calls(criterion: &mut Criterion) {
    let cases = [
        (
            "direct, auto ack, same shard",
            Reply::Direct,
            Acknowledge::Auto,
            Placement::SameShard,
        ),
        (
            "callback queue, manual ack, same shard",
            Reply::Queue,
            Acknowledge::Manual,
            Placement::SameShard,
        ),
        (
            "direct, auto ack, two shards",
            Reply::Direct,
            Acknowledge::Auto,
            Placement::TwoShards,
        ),
        (
            "callback queue, manual ack, two shards",
            Reply::Queue,
            Acknowledge::Manual,
            Placement::TwoShards,
        ),
    ];
    let mut group = criterion.benchmark_group("call");
    for (name, reply, acknowledge, placement) in cases {
        let mut call = Call::set_up(reply, acknowledge, placement, BODY_LEN);
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |bencher| bencher.iter(|| call.run(1)));
        group.throughput(Throughput::Elements(BATCH_LEN as u64));
        let name = format!("{name}, {BATCH_LEN} per turn");
        group.bench_function(name, |bencher| bencher.iter(|| call.run(BATCH_LEN)));
    }
    group.finish();
}

criterion_group!(benches, calls);
criterion_main!(benches);
