//! The broker as a process: found, started on a free loopback port, stopped by its own id.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::PATIENCE;

/// A broker to test against. One that we started is stopped, and its exit judged, on drop.
pub struct Broker {
    address: SocketAddr,
    process: Option<Process>,
}

struct Process {
    child: Child,
    log: Option<JoinHandle<String>>,
    signalled: bool,
}

/// How a broker went after SIGTERM.
pub struct Exit {
    pub code: Option<i32>,
    pub took: Duration,
    /// All that it said on standard error.
    pub log: String,
}

/// Runs `test` on a broker of one shard and on a broker of two.
pub fn on_one_and_two_shards(test: impl Fn(&Broker)) {
    if std::env::var_os("BROKER_URL").is_some() {
        return test(&Broker::start(1));
    }
    for shard_count in [1, 2] {
        eprintln!("with {shard_count} shard(s)");
        test(&Broker::start(shard_count));
    }
}

impl Broker {
    pub fn start(shard_count: usize) -> Broker {
        match std::env::var("BROKER_URL") {
            Ok(url) => Broker::at(address_in(&url)),
            Err(_) => Broker::launch(Command::new(binary()), shard_count, &[]),
        }
    }

    /// A way to a broker that others start and stop.
    pub fn at(address: SocketAddr) -> Broker {
        Broker {
            address,
            process: None,
        }
    }

    /// `None`, with the reason printed, where the broker under test is not ours to start.
    pub fn start_own(shard_count: usize, reason: &str) -> Option<Broker> {
        is_ours_to_start(reason).then(|| Broker::launch(Command::new(binary()), shard_count, &[]))
    }

    /// A broker of our own with more flags.
    pub fn start_with(shard_count: usize, flags: &[&str]) -> Option<Broker> {
        is_ours_to_start("the broker needs flags of ours")
            .then(|| Broker::launch(Command::new(binary()), shard_count, flags))
    }

    /// A broker of our own that may have so many files open.
    pub fn start_short_of_files(shard_count: usize, file_count: usize) -> Option<Broker> {
        if !is_ours_to_start("its limit of open files is not ours to set") {
            return None;
        }
        let mut command = Command::new("sh");
        let script = r#"ulimit -n "$0" && exec "$@""#;
        command
            .args(["-c", script, &file_count.to_string()])
            .arg(binary());
        Some(Broker::launch(command, shard_count, &[]))
    }

    fn launch(mut command: Command, shard_count: usize, flags: &[&str]) -> Broker {
        let mut child = command
            .args(["--listen", "127.0.0.1:0", "--shards"])
            .arg(shard_count.to_string())
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let stderr = child.stderr.take().expect("stderr was asked for above");
        let (sender, receiver) = channel();
        let log = thread::spawn(move || follow(stderr, &sender));
        let mut process = Process {
            child,
            log: Some(log),
            signalled: false,
        };
        match await_address(&receiver) {
            Some(address) => Broker {
                address,
                process: Some(process),
            },
            None => {
                let exit = process.stop("KILL");
                panic!(
                    "the broker never said 'listening on' ({exit:?}); {}",
                    process.log()
                );
            }
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn uri(&self) -> String {
        format!("amqp://guest:guest@{}/%2f", self.address)
    }

    /// True if this is the broker of this repository, started by this test.
    pub fn is_own(&self) -> bool {
        self.process.is_some()
    }

    /// Memory in use, in KiB; `None` for a broker that we did not start.
    pub fn resident_kib(&self) -> Option<u64> {
        let process = self.process.as_ref()?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.child.id()))
            .expect("the broker runs and has a status file");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// Processor time used so far; `None` for a broker that we did not start.
    pub fn processor_time(&self) -> Option<Duration> {
        /// The unit of Linux's interface, whatever the kernel's own clock.
        const TICK: Duration = Duration::from_millis(10);
        let process = self.process.as_ref()?;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.child.id()))
            .expect("the broker runs and has a stat file");
        // What follows the name, which may contain anything.
        let (_, fields) = stat.rsplit_once(')')?;
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u32 = ticks.map(|field| field.parse::<u32>().unwrap_or(0)).sum();
        Some(TICK * ticks)
    }

    /// Sends SIGTERM and returns at once. A second signal means more haste than the first.
    pub fn begin_shutdown(&mut self) {
        if let Some(process) = &mut self.process {
            process.signal_once("TERM");
        }
    }

    /// Sends SIGTERM, if that has not been done, and waits for the end of the process.
    pub fn shut_down(mut self) -> Exit {
        let mut process = self
            .process
            .take()
            .expect("only a broker of ours is shut down");
        let began = Instant::now();
        let status = process.stop("TERM");
        let took = began.elapsed();
        let log = process.log();
        if status.code() != Some(0) {
            eprintln!("{log}");
        }
        Exit {
            code: status.code(),
            took,
            log,
        }
    }
}

fn is_ours_to_start(reason: &str) -> bool {
    let is_ours = std::env::var_os("BROKER_URL").is_none();
    if !is_ours {
        eprintln!("skipped, BROKER_URL is set: {reason}");
    }
    is_ours
}

impl Drop for Broker {
    fn drop(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        let status = process.stop("TERM");
        let log = process.log();
        if thread::panicking() {
            eprintln!("{log}");
        } else {
            assert_eq!(
                status.code(),
                Some(0),
                "the broker ended with {status}; {log}"
            );
        }
    }
}

impl Process {
    /// Signals the process; kills it if it has not ended after a while.
    fn stop(&mut self, name: &str) -> ExitStatus {
        self.signal_once(name);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self
                .child
                .try_wait()
                .expect("the child is ours to wait for")
            {
                Some(status) => return status,
                None if Instant::now() > deadline => break,
                None => thread::sleep(Duration::from_millis(5)),
            }
        }
        eprintln!("the broker outlived SIG{name} by {PATIENCE:?} and is killed");
        self.child.kill().expect("the child is ours to kill");
        self.child.wait().expect("the child is ours to wait for")
    }

    fn signal_once(&mut self, name: &str) {
        if std::mem::replace(&mut self.signalled, true) {
            return;
        }
        let status = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.child.id())])
            .stderr(Stdio::null())
            .status();
        // A process that has just ended by itself cannot be signalled: its exit status tells.
        status.expect("sh can be started");
    }

    fn log(&mut self) -> String {
        let text = self
            .log
            .take()
            .and_then(|log| log.join().ok())
            .unwrap_or_default();
        format!("the broker's log:\n{text}")
    }
}

/// Collects the log, and reports the first address that the broker listens on.
fn follow(stderr: ChildStderr, found: &Sender<SocketAddr>) -> String {
    const MARK: &str = "listening on ";
    let mut log = String::new();
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        if let Some((_, rest)) = line.split_once(MARK) {
            let text = |c: char| c.is_ascii_digit() || c == '.' || c == ':';
            let end = rest.find(|c| !text(c)).unwrap_or(rest.len());
            if let Ok(address) = rest[..end].parse() {
                // Nobody listens after the first address.
                let _ = found.send(address);
            }
        }
        log.push_str(&line);
        log.push('\n');
    }
    log
}

fn await_address(found: &Receiver<SocketAddr>) -> Option<SocketAddr> {
    found.recv_timeout(PATIENCE).ok()
}

fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("RONDO_BROKER") {
        return path.into();
    }
    // target/PROFILE/deps/suite-HASH -> target/PROFILE/broker
    let tests = std::env::current_exe().expect("a running test has a path");
    let profile = tests
        .ancestors()
        .nth(2)
        .expect("cargo puts tests two folders deep");
    let path = profile.join("broker");
    assert!(
        path.exists(),
        "no {}: run `cargo build -p broker` first",
        path.display()
    );
    path
}

fn address_in(url: &str) -> SocketAddr {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or(rest);
    host.parse().expect("BROKER_URL is amqp://IP:PORT/")
}
