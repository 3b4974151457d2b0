//! Callers and workers of followed calls, and what they hear.

use super::super::Census;
use super::client::*;
use super::heard::Content;
use super::world::{Peer, World};
use amq_protocol::protocol::basic;
use amq_protocol::protocol::basic::AMQPProperties;
use amq_protocol::types::{AMQPValue, FieldTable};

pub const CANCEL: &str = "amq.rpc.cancel";

pub fn yes() -> AMQPValue {
    AMQPValue::Boolean(true)
}

pub fn word(word: &str) -> AMQPValue {
    AMQPValue::LongString(word.into())
}

pub fn request(id: &str, headers: &[(&str, AMQPValue)]) -> AMQPProperties {
    let mut table = FieldTable::default();
    for (key, value) in headers {
        table.insert((*key).into(), value.clone());
    }
    with_reply_to(REPLY_TO)
        .with_correlation_id(id.into())
        .with_headers(table)
}

/// A request whose caller wants to hear how it ends.
pub fn with_errors(id: &str) -> AMQPProperties {
    request(id, &[("x-rpc-errors", yes())])
}

pub fn with_deadline(id: &str, ms: i64) -> AMQPProperties {
    request(
        id,
        &[("x-rpc-errors", yes()), ("x-rpc-deadline-ms", int(ms))],
    )
}

pub fn header(content: &Content, key: &str) -> Option<AMQPValue> {
    let headers = content.properties.headers().clone().unwrap_or_default();
    headers.inner().get(key).cloned()
}

pub fn id_of(content: &Content) -> String {
    let id = content.properties.correlation_id().clone();
    id.map_or(String::new(), |id| id.to_string())
}

/// How a caller's calls have ended since the last time: correlation id, then status or body.
pub fn ends(world: &mut World, caller: Peer) -> Vec<String> {
    let contents = world.contents(caller).into_iter();
    contents
        .map(|content| match header(&content, "x-rpc-status") {
            Some(AMQPValue::LongLongInt(status)) => {
                assert_eq!(content.text(), "");
                let text = header(&content, "x-rpc-text");
                assert!(matches!(text, Some(AMQPValue::LongString(_))));
                format!("{} {status}", id_of(&content))
            }
            Some(other) => panic!("{other:?}"),
            None => format!("{} {}", id_of(&content), content.text()),
        })
        .collect()
}

pub fn caller(world: &mut World, place: usize) -> Peer {
    let peer = world.connect(place);
    world.ask(peer, 1, consume_auto(REPLY_TO, "t"));
    peer
}

/// Declares and consumes from `rpc`.
pub fn worker(world: &mut World, place: usize, consume: basic::Consume) -> Peer {
    let peer = world.connect(place);
    world.call(peer, 1, declare("rpc"));
    world.call(peer, 1, consume);
    world.lines(peer);
    peer
}

pub fn acking(world: &mut World, place: usize) -> Peer {
    worker(world, place, consume("rpc", "w"))
}

pub fn careless(world: &mut World, place: usize) -> Peer {
    worker(world, place, consume_auto("rpc", "w"))
}

pub fn call(world: &mut World, caller: Peer, properties: &AMQPProperties) {
    world.publish_with(caller, 1, to("", "rpc"), properties, "2+2");
    world.run();
}

pub fn answer(world: &mut World, worker: Peer, request: &Content, body: &str) {
    let properties = AMQPProperties::default().with_correlation_id(id_of(request).into());
    world.publish_with(worker, 1, to("", &request.reply_to()), &properties, body);
    world.run();
}

/// The one request that a worker has heard of since the last time.
pub fn taken(world: &mut World, worker: Peer) -> Content {
    let mut contents = world.contents(worker);
    assert_eq!(contents.len(), 1, "{contents:?}");
    contents.remove(0)
}

pub fn count(world: &World, of: impl Fn(&Census) -> usize) -> usize {
    world.shards.iter().map(|shard| of(&shard.census())).sum()
}

/// Nobody keeps anything of any call.
pub fn assert_all_over(world: &World) {
    assert_eq!(count(world, |census| census.call_count), 0);
    assert_eq!(count(world, |census| census.request_count), 0);
    assert_eq!(count(world, |census| census.served_count), 0);
}

pub fn late_count(world: &World) -> u64 {
    world
        .shards
        .iter()
        .map(|shard| shard.late_reply_count)
        .sum()
}
