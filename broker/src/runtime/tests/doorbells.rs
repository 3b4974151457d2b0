//! Shards on their own threads, which must wake each other however small their rings are.

use super::super::bell::Bell;
use super::super::mesh::Mailboxes;
use super::super::ring::Ring;
use super::peer::{self, Peer};
use super::stand::{LEAST, PATIENCE, drive};
use crate::engine::shard::Mail;
use std::net::{TcpListener, TcpStream};
use std::os::fd::RawFd;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

fn run(mailboxes: Mailboxes<Mail>, tell: &Sender<(u16, RawFd)>, hear: &Receiver<Vec<RawFd>>) {
    let mut drive = drive(&LEAST, mailboxes, Vec::new());
    let index = drive.mailboxes.index();
    tell.send((index, drive.sockets.ring.doorbell())).unwrap();
    drive.doorbells = hear.recv().unwrap();
    drive.run().unwrap();
}

/// Rings until all has been heard that this ring had to say.
fn ring(ring: &mut Ring, doorbell: RawFd, bell: Bell) {
    ring.ring_doorbell(doorbell, bell.pack());
    ring.turn(Some(Duration::ZERO)).unwrap();
    assert!(ring.poll_completion().is_none());
}

#[test]
fn calls_cross_shards_whose_rings_and_mailboxes_are_always_full() {
    const COUNT: usize = 1500;
    let (tell, told) = mpsc::channel();
    let mut shards = Vec::new();
    for mailboxes in Mailboxes::with_capacity(2, 1) {
        let (bell, hear) = mpsc::channel();
        let tell = tell.clone();
        shards.push((bell, thread::spawn(move || run(mailboxes, &tell, &hear))));
    }
    let mut doorbells = vec![-1; 2];
    for (index, doorbell) in told.iter().take(2) {
        doorbells[usize::from(index)] = doorbell;
    }
    for (bell, _) in &shards {
        bell.send(doorbells.clone()).unwrap();
    }
    let mut front_door = Ring::new(&LEAST).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut connect = |shard: usize| {
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        ring(
            &mut front_door,
            doorbells[shard],
            Bell::Connection(far.into()),
        );
        Peer::new(near)
    };
    let (mut here, mut there) = (connect(0), connect(1));
    for (peer, queue) in [(&mut here, "here"), (&mut there, "there")] {
        peer.say(&[peer::hello(), peer::declare(queue), peer::consume(queue)].concat());
        look_until(&mut [peer], |peers| {
            peers[0].last_method() == Some([0, 60, 0, 21])
        });
    }
    // In bursts, so that mailboxes and rings are met empty and full, and shards asleep and awake.
    let mut sent_count = 0;
    while sent_count < COUNT {
        let burst = 1 + sent_count % 100;
        here.say(&peer::publish("there", b"x").repeat(burst));
        there.say(&peer::publish("here", b"x").repeat(burst));
        sent_count += burst;
        here.heard.clear();
        there.heard.clear();
        look_until(&mut [&mut here, &mut there], |peers| {
            peers.iter().all(|peer| peer.bodies().len() == burst)
        });
    }
    drop((here, there));
    for doorbell in &doorbells {
        ring(&mut front_door, *doorbell, Bell::Shutdown);
    }
    for (_, shard) in shards {
        shard.join().unwrap();
    }
}

#[track_caller]
fn look_until(peers: &mut [&mut Peer], is_so: impl Fn(&[&mut Peer]) -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so(peers) {
        assert!(Instant::now() < until, "somebody sleeps");
        peers.iter_mut().for_each(|peer| peer.look());
        thread::yield_now();
    }
}
