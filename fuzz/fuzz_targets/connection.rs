//! One or two shards with three connections. The first octet picks where the input starts: with
//! raw octets before or after the handshake, with well-framed payloads, or with a script of legal
//! frames in any order; and how tight the limits are.

#![no_main]

use fuzz::script::Script;
use fuzz::world::{Start, World};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&start, rest)) = input.split_first() else {
        return;
    };
    let mut world = World::new(&Start {
        has_two_shards: start & 0x80 != 0,
        is_tight: start & 4 != 0,
        is_crowded: start & 8 != 0,
        has_two_vhosts: start & 0x40 != 0,
    });
    if start & 3 != 0 {
        world.shake_hands();
    }
    if start & 3 != 0 && start & 32 != 0 {
        Script::set_stage(&mut world);
    }
    if start & 16 != 0 {
        world.deafen(0);
    }
    match start & 3 {
        0..=1 => receive_chunks(&mut world, rest),
        2 => receive_frames(&mut world, rest),
        _ => Script::new(rest).play(&mut world),
    }
    world.end();
});

/// Chunks of up to 31 octets for any of the connections, each behind an octet that says which.
fn receive_chunks(world: &mut World, mut input: &[u8]) {
    while let Some((&how, rest)) = input.split_first() {
        let (chunk, rest) = rest.split_at(rest.len().min(usize::from(how & 31)));
        world.receive(usize::from(how >> 5), chunk);
        input = rest;
    }
}

/// Payloads behind kind, channel and length: everything reaches a decoder.
fn receive_frames(world: &mut World, mut input: &[u8]) {
    while let Some((&[how, len], rest)) = input.split_first_chunk() {
        let (payload, rest) = rest.split_at(rest.len().min(usize::from(len)));
        let kind = [1, 1, 2, 3][usize::from(how & 3)];
        let mut frame = vec![kind, 0, how >> 2 & 3, 0, 0, 0, payload.len() as u8];
        frame.extend_from_slice(payload);
        frame.push(0xce);
        world.receive(usize::from(how >> 4), &frame);
        input = rest;
    }
}
