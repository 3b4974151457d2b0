//! One shard that a test turns by hand.

use super::super::clock::Clock;
use super::super::drive::Drive;
use super::super::mesh::Mailboxes;
use super::super::ring::{Ring, RingSettings};
use super::super::socket::{Socket, Stage};
use super::super::sockets::Sockets;
use super::peer::Peer;
use crate::engine::shard::{Mail, Settings, Shard, User};
use crate::engine::time::Timestamp;
use crate::limits::{self, Limits};
use socket2::{SockAddr, SockRef, Socket as Dialed};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// The least that the kernel grants.
pub(super) const LEAST: RingSettings = RingSettings {
    submission_entries: 1,
    completion_entries: 2,
    receive_buffer_count: 1,
    receive_buffer_len: 64,
};

/// Far beyond what any test needs; only a hang meets it.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// The kernel makes of it the least that it allows.
const BUFFER_LEN_LEAST: usize = 1;

pub(super) struct Stand {
    pub(super) drive: Drive,
    pub(super) now: Timestamp,
    listener: TcpListener,
}

impl Stand {
    pub(super) fn new(settings: &RingSettings) -> Stand {
        let mailboxes = Mailboxes::for_shards(1).remove(0);
        Stand {
            drive: drive(settings, mailboxes, vec![-1]),
            now: Timestamp(1_000_000_000),
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
        }
    }

    /// Publishers wait while queues hold so many octets.
    pub(super) fn with_memory(settings: &RingSettings, queued_len_max: usize) -> Stand {
        let mut stand = Stand::new(settings);
        let mut settings = Settings {
            queued_len_max,
            ..engine_settings()
        };
        settings.limits.parked_len_max = settings.limits.backlog_len_max;
        stand.drive.shard = Shard::new(0, 1, settings);
        stand
    }

    /// A new connection, which has said nothing.
    pub(super) fn connect(&mut self) -> Peer {
        let near = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        let (far, _) = self.listener.accept().unwrap();
        self.drive.connect(far.into(), self.now);
        Peer::new(near)
    }

    /// The same with so little room in its sockets that every long send is a short one.
    pub(super) fn connect_narrow(&mut self) -> Peer {
        let address = self.listener.local_addr().unwrap();
        let near = Dialed::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        near.set_recv_buffer_size(BUFFER_LEN_LEAST).unwrap();
        near.connect(&SockAddr::from(address)).unwrap();
        let (far, _) = self.listener.accept().unwrap();
        let narrowed = SockRef::from(&far).set_send_buffer_size(BUFFER_LEN_LEAST);
        narrowed.unwrap();
        self.drive.connect(far.into(), self.now);
        Peer::new(near.into())
    }

    pub(super) fn turn(&mut self) {
        let waits = Some(Duration::from_millis(1));
        self.drive.sockets.ring.turn(waits).unwrap();
        self.drive.serve(self.now);
    }

    /// Turns, and lets the peers look, until it is so.
    #[track_caller]
    pub(super) fn turn_until(
        &mut self,
        peers: &mut [&mut Peer],
        is_so: impl Fn(&Stand, &[&mut Peer]) -> bool,
    ) {
        let until = Instant::now() + PATIENCE;
        while !is_so(self, peers) {
            assert!(Instant::now() < until, "it never came to that");
            peers.iter_mut().for_each(|peer| peer.look());
            self.turn();
        }
    }

    /// Every connection that the test has let go of is gone.
    #[track_caller]
    pub(super) fn expect_empty(&mut self) {
        self.turn_until(&mut [], |stand, _| {
            stand.drive.shard.connection_count() == 0
        });
        assert!((0..100).all(|slot| self.drive.sockets.socket(slot).is_none()));
        self.drive.shard.invariants();
    }

    pub(super) fn pass(&mut self, duration: Duration) {
        self.now = self.now.plus(duration);
    }

    pub(super) fn stage(&self, slot: u32) -> Option<Stage> {
        self.drive.sockets.socket(slot).map(|socket| socket.stage)
    }

    pub(super) fn is_paused(&self, slot: u32) -> bool {
        let paused = |socket: &Socket| !socket.wants_receive;
        self.drive.sockets.socket(slot).is_some_and(paused)
    }

    /// A part of what is being sent has gone, and the rest is on its way.
    pub(super) fn is_within_send(&self, slot: u32) -> bool {
        let within = |socket: &Socket| socket.sending_from.is_some_and(|from| from > 0);
        self.drive.sockets.socket(slot).is_some_and(within)
    }
}

/// To be called on the thread that runs it.
pub(super) fn drive(
    settings: &RingSettings,
    mailboxes: Mailboxes<Mail>,
    doorbells: Vec<i32>,
) -> Drive {
    let (index, count) = (mailboxes.index(), mailboxes.count());
    Drive {
        shard: Shard::new(index, count, engine_settings()),
        sockets: Sockets::new(Ring::new(settings).unwrap()),
        mailboxes,
        doorbells,
        clock: Clock::start(),
        front_door: None,
        shutdown_until: None,
    }
}

fn engine_settings() -> Settings {
    Settings {
        users: vec![User {
            name: "guest".into(),
            password: "secret".into(),
            loopback_only: true,
        }],
        vhosts: vec!["/".into()],
        policies: Vec::new(),
        heartbeat_s: 0,
        frame_len_max: limits::FRAME_LEN_MAX,
        channel_max: limits::CHANNEL_MAX,
        connection_count_max: 1000,
        body_len_max: limits::BODY_LEN_MAX,
        queued_len_max: 1 << 30,
        calls_measured_per_second: limits::CALLS_MEASURED_PER_SECOND,
        started_at_s: 1_800_000_000,
        secret: [7; 16],
        limits: Limits::SHIPPED,
    }
}
