//! From a checked configuration to running shards, and to the end of them.

use super::acceptor::{Acceptor, listen};
use super::clock::Clock;
use super::drive::{Drive, FrontDoor};
use super::machine;
use super::mesh::Mailboxes;
use super::ring::{Ring, RingSettings};
use super::sockets::Sockets;
use crate::config::Config;
use crate::engine::shard::{Mail, Settings, Shard};
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use signal_hook::consts::{SIGINT, SIGPIPE, SIGTERM};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver, Sender};

/// Glommio's own rings and buffers: nothing runs through them as long as no file is read.
const EXECUTOR_MEMORY_LEN: usize = 64 * 1024;
const EXECUTOR_RING_DEPTH: usize = 32;

/// Enough to ask whether a ring can be had at all.
const PROBE: RingSettings = RingSettings {
    submission_entries: 2,
    completion_entries: 4,
    receive_buffer_count: 1,
    receive_buffer_len: 64,
};

/// What one shard needs, made before its thread is. The ring is not among it: it must be made on
/// the thread that uses it.
struct Seed {
    mailboxes: Mailboxes<Mail>,
    settings: Settings,
    clock: Clock,
    front_door: Option<FrontDoor>,
    /// Where to say which doorbell rings this shard's ring.
    tell: Sender<(u16, RawFd)>,
    /// The doorbells of all shards, in order.
    doorbells: Receiver<Vec<RawFd>>,
}

/// Runs the broker until it is asked to stop. The error fits on one line.
pub fn run(config: &Config) -> io::Result<()> {
    let shard_count = config.shards;
    machine::check_kernel()?;
    machine::check_locked_memory(shard_count)?;
    machine::check_descriptors(config.connections_max, shard_count)?;
    drop(Ring::new(&PROBE)?);
    let mut front_door = Some(open(config)?);
    let clock = Clock::start();
    let settings = config.engine_settings(machine::draw_secret()?, clock.started_at_s());
    let (tell, told) = mpsc::channel();
    let mut handles = Vec::new();
    let mut bells = Vec::new();
    for mailboxes in Mailboxes::for_shards(shard_count) {
        let (bell, doorbells) = mpsc::channel();
        bells.push(bell);
        let seed = Seed {
            mailboxes,
            settings: settings.clone(),
            clock,
            front_door: front_door.take(),
            tell: tell.clone(),
            doorbells,
        };
        handles.push(spawn(seed, config.pin)?);
    }
    drop(tell);
    let mut doorbells = vec![-1; usize::from(shard_count)];
    for (index, doorbell) in told {
        doorbells[usize::from(index)] = doorbell;
    }
    // If a shard is missing, the others find no doorbells and end, and joining tells why.
    if !doorbells.contains(&-1) {
        for bell in &bells {
            // Fails only if the shard is gone, which joining reports.
            let _ = bell.send(doorbells.clone());
        }
    }
    drop(bells);
    handles.into_iter().try_for_each(join)
}

/// Listens, and takes over the signals.
fn open(config: &Config) -> io::Result<FrontDoor> {
    let mut listeners = Vec::new();
    for address in &config.listen {
        listeners.push(listen(*address)?);
    }
    let signals = hear_signals()?;
    for listener in &listeners {
        if let Some(address) = listener.local_addr()?.as_socket() {
            tracing::info!("listening on {address}");
        }
    }
    Ok(FrontDoor {
        acceptor: Acceptor::new(listeners, config.shards),
        signals,
    })
}

/// The first request to stop comes out of the pipe; a second one ends the process at once.
fn hear_signals() -> io::Result<UnixStream> {
    let (hear, tell) = UnixStream::pair()?;
    let is_second = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&is_second))?;
        signal_hook::low_level::pipe::register(signal, tell.try_clone()?)?;
    }
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&is_second))?;
    }
    // A handler that does nothing, since nothing but a write to a closed socket raises it, and
    // that write reports the error as well.
    signal_hook::flag::register(SIGPIPE, Arc::new(AtomicBool::new(false)))?;
    Ok(hear)
}

/// Where a shard runs is left to the kernel unless it is told otherwise: a thread that is kept on
/// its core waits there for whatever else runs on it, clients on the same machine above all.
fn spawn(seed: Seed, pin: bool) -> io::Result<ExecutorJoinHandle<io::Result<()>>> {
    let placement = match pin {
        true => Placement::Fixed(machine::usable_cores()[usize::from(seed.mailboxes.index())]),
        false => Placement::Unbound,
    };
    LocalExecutorBuilder::new(placement)
        .name("shard")
        .io_memory(EXECUTOR_MEMORY_LEN)
        .ring_depth(EXECUTOR_RING_DEPTH)
        .spawn(move || async move { grow(seed) })
        .map_err(|error| io::Error::other(format!("cannot start an executor: {error}")))
}

/// On the shard's own thread, until the broker stops. The thread is the shard's alone: the loop
/// sleeps in the shard's ring, not in glommio's.
fn grow(seed: Seed) -> io::Result<()> {
    let ring = Ring::new(&RingSettings::default())?;
    let index = seed.mailboxes.index();
    let count = seed.mailboxes.count();
    // Nobody hears it only if the start has failed already.
    let _ = seed.tell.send((index, ring.doorbell()));
    drop(seed.tell);
    let Ok(doorbells) = seed.doorbells.recv() else {
        return Ok(());
    };
    let drive = Drive {
        shard: Shard::new(index, count, seed.settings),
        sockets: Sockets::new(ring),
        mailboxes: seed.mailboxes,
        doorbells,
        clock: seed.clock,
        front_door: seed.front_door,
        shutdown_until: None,
    };
    let ended = drive.run();
    if let Err(error) = &ended {
        // The others would wait for this shard's mail for ever.
        tracing::error!("shard {index} has failed: {error}");
        std::process::exit(1);
    }
    ended
}

fn join(handle: ExecutorJoinHandle<io::Result<()>>) -> io::Result<()> {
    let text = |error| io::Error::other(format!("cannot run an executor: {error}"));
    handle.join().map_err(text)?
}
