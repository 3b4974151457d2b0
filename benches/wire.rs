//! Octets to frames, and content headers to properties.

use benches::bytes::publish;
use broker::engine::wire::basic::{decode_content_header, decode_hot};
use broker::engine::wire::frame::split_frame;
use broker::engine::wire::properties::Properties;
use broker::limits::{FRAME_LEN_MAX, TABLE_DEPTH_MAX};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

const REPLY_TO: &[u8] = b"amq.rabbitmq.reply-to";

fn split_all(mut octets: &[u8]) -> usize {
    let mut count = 0;
    while let Ok(Some(frame)) = split_frame(octets, FRAME_LEN_MAX) {
        octets = &octets[frame.frame_len()..];
        count += 1;
    }
    count
}

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wire");
    for body_len in [64, 4096, 1 << 20] {
        let octets = publish(b"bench.requests", Some(REPLY_TO), &vec![0x5A; body_len]);
        group.throughput(Throughput::Bytes(octets.len() as u64));
        let name = format!("split a publish of {body_len} octets");
        group.bench_function(name, |bencher| {
            bencher.iter(|| split_all(black_box(&octets)))
        });
    }
    group.finish();
}

fn headers(criterion: &mut Criterion) {
    let octets = publish(b"bench.requests", Some(REPLY_TO), &[0x5A; 64]);
    let frame = |octets| {
        split_frame(octets, FRAME_LEN_MAX)
            .ok()
            .flatten()
            .expect("whole frames")
    };
    let method = frame(&octets);
    let header = frame(&octets[method.frame_len()..]);
    let mut group = criterion.benchmark_group("wire");
    group.bench_function("decode basic.publish", |bencher| {
        bencher.iter(|| black_box(decode_hot(black_box(method.payload)).is_ok()));
    });
    group.bench_function("walk a content header", |bencher| {
        bencher.iter(|| {
            let (_, header) = decode_content_header(black_box(header.payload)).expect("valid");
            let properties = Properties::walk(header.properties, TABLE_DEPTH_MAX).expect("valid");
            black_box(properties.reply_to().map(<[u8]>::len))
        });
    });
    group.finish();
}

criterion_group!(benches, frames, headers);
criterion_main!(benches);
