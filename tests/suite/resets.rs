//! A connection that is cut after any octet of its life, either way: nothing of it remains, and
//! nobody else notices.

use crate::churn::expect_gone;
use blackbox::peer::{start_ok, tune_ok};
use blackbox::proxy::{Cut, How, Plan, Way};
use blackbox::rpc::{Bystander, Worker};
use blackbox::wire::{self, METHOD, Properties, method};
use blackbox::work::{EXCLUSIVE, NO_ACK};
use blackbox::{Broker, PATIENCE, Peer, Proxy, unique};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Class and method of what a life waits for.
const START: [u8; 4] = [0, 10, 0, 10];
const TUNE: [u8; 4] = [0, 10, 0, 30];
const OPEN_OK: [u8; 4] = [0, 10, 0, 41];
const CLOSE_OK: [u8; 4] = [0, 10, 0, 51];
const CHANNEL_OPEN_OK: [u8; 4] = [0, 20, 0, 11];
const DECLARE_OK: [u8; 4] = [0, 50, 0, 11];
const CONSUME_OK: [u8; 4] = [0, 60, 0, 21];
const DELIVER: [u8; 4] = [0, 60, 0, 60];

/// Stops the worker.
const STOP: &[u8] = b"stop";

/// A peer that goes through a whole life as far as it gets.
struct Life {
    stream: TcpStream,
    heard: Vec<u8>,
    /// The body of the job that it was given.
    job: Option<Vec<u8>>,
    /// It has said that the job is done, and perhaps nobody has heard it.
    has_acknowledged: bool,
}

impl Life {
    fn say(&mut self, octets: &[u8]) {
        // Whether the connection lives shows in what is heard.
        let _ = self.stream.write_all(octets);
    }

    /// The payload of the next frame of this kind that starts so; `None`: the connection is gone.
    fn hear(&mut self, kind: u8, start: &[u8]) -> Option<Vec<u8>> {
        loop {
            while let Some(frame) = self.split_frame() {
                if frame[0] == kind && frame[7..].starts_with(start) {
                    return Some(frame[7..frame.len() - 1].to_vec());
                }
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(len) if len > 0 => self.heard.extend_from_slice(&chunk[..len]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("neither {start:?} came nor the end")
                }
                _ => return None,
            }
        }
    }

    fn split_frame(&mut self) -> Option<Vec<u8>> {
        let head = self.heard.first_chunk::<7>()?;
        let len = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
        let is_whole = self.heard.len() >= len + 8;
        is_whole.then(|| self.heard.drain(..len + 8).collect())
    }

    /// `None`: cut off on the way.
    fn run(&mut self, scene: &Scene, callback: &str) -> Option<()> {
        self.say(wire::PROTOCOL_HEADER);
        self.hear(METHOD, &START)?;
        self.say(&start_ok("PLAIN", b"\0guest\0guest").frame(0));
        self.hear(METHOD, &TUNE)?;
        self.say(&tune_ok(2047, 131_072, 0).frame(0));
        self.say(&method(10, 40).shortstr("/").shortstr("").octet(0).frame(0));
        self.hear(METHOD, &OPEN_OK)?;
        self.say(&method(20, 10).shortstr("").frame(1));
        self.hear(METHOD, &CHANNEL_OPEN_OK)?;
        let declare = method(50, 10).short(0).shortstr(callback);
        self.say(&declare.octet(EXCLUSIVE).table(&[]).frame(1));
        self.hear(METHOD, &DECLARE_OK)?;
        for (queue, flags) in [(callback, NO_ACK), (&scene.jobs, 0)] {
            let consume = method(60, 20).short(0).shortstr(queue).shortstr("");
            self.say(&consume.octet(flags).table(&[]).frame(1));
            self.hear(METHOD, &CONSUME_OK)?;
        }
        self.hear(METHOD, &DELIVER)?;
        self.job = Some(self.hear(wire::BODY, b"")?);
        let properties = Properties::default().reply_to(callback).encode();
        self.say(&wire::publish("", &scene.questions, false).frame(1));
        self.say(&wire::content_header(1, 8, &properties));
        self.say(&wire::frame(wire::BODY, 1, b"question"));
        self.hear(METHOD, &DELIVER)?;
        assert_eq!(self.hear(wire::BODY, b"")?, b"question");
        self.has_acknowledged = true;
        self.say(&method(60, 80).longlong(1).octet(0).frame(1));
        let close = method(10, 50).short(200).shortstr("").short(0).short(0);
        self.say(&close.frame(0));
        self.hear(METHOD, &CLOSE_OK)?;
        Some(())
    }
}

/// Everything around a life that outlives it.
struct Scene {
    bystander: Bystander,
    /// Looks for what a life has left.
    witness: Peer,
    jobs: String,
    job_count: usize,
    questions: String,
    worker: Option<JoinHandle<()>>,
}

impl Scene {
    fn start(broker: &Broker) -> Scene {
        let mut worker = Worker::start(broker);
        let questions = worker.queue.clone();
        let answers = thread::spawn(move || {
            loop {
                let request = worker.next_request();
                if request.body == STOP {
                    return;
                }
                worker.answer(&request, &request.body);
            }
        });
        let mut witness = Peer::open(broker);
        let jobs = unique("jobs");
        witness.declare(1, &jobs, 0);
        Scene {
            bystander: Bystander::start(broker),
            witness,
            jobs,
            job_count: 0,
            questions,
            worker: Some(answers),
        }
    }

    /// A life behind a proxy; it has met its end, and the cut if there was one in reach.
    #[track_caller]
    fn live(&mut self, proxy: &Proxy) {
        // Always of the same length, so that every octet has the same place in every life.
        self.job_count += 1;
        let job = format!("{:08}", self.job_count).into_bytes();
        let callback = format!("{}.callback.{:08}", self.jobs, self.job_count);
        let properties = Properties::default();
        self.witness.publish(1, &self.jobs, &properties, &job);
        let stream = TcpStream::connect(proxy.address()).expect("the proxy listens");
        let options = stream.set_nodelay(true);
        let options = options.and_then(|()| stream.set_read_timeout(Some(PATIENCE)));
        options.expect("TCP sockets have these options");
        let mut life = Life {
            stream,
            heard: Vec::new(),
            job: None,
            has_acknowledged: false,
        };
        let is_complete = life.run(self, &callback).is_some();
        assert!(!is_complete || life.has_acknowledged);
        self.bystander.must_be_served();
        expect_gone(&mut self.witness, &callback);
        if life.has_acknowledged {
            // Nobody but the broker knows whether it has heard that.
            while self.witness.get(1, &self.jobs, true).is_some() {}
        } else {
            self.expect_back(&job, life.job.as_ref() == Some(&job));
        }
    }

    /// The job goes to another worker.
    #[track_caller]
    fn expect_back(&mut self, job: &[u8], was_given_out: bool) {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.witness.get(1, &self.jobs, true) {
                Some(delivery) if delivery.body == job => {
                    return assert!(delivery.redelivered || !was_given_out, "no mark");
                }
                // Of an earlier life whose acknowledgement was lost.
                Some(_) => {}
                // On its way back from another shard.
                None => thread::sleep(Duration::from_millis(1)),
            }
            assert!(Instant::now() < until, "the job is lost");
        }
    }

    /// Octets of a whole life, by way.
    fn measure(&mut self, broker: &Broker) -> [u64; 2] {
        let proxy = Proxy::start(broker, Plan::default());
        self.live(&proxy);
        [Way::ToBroker, Way::ToPeer].map(|way| proxy.passed(way))
    }

    fn end(mut self) {
        let properties = Properties::default();
        self.witness.publish(1, &self.questions, &properties, STOP);
        self.witness.delete(1, &self.jobs);
        let worker = self.worker.take().expect("it is taken once");
        worker.join().expect("the worker answered to the end");
    }
}

fn cut_everywhere(shard_count: usize, way: Way, how: How) {
    let broker = Broker::start(shard_count);
    let mut scene = Scene::start(&broker);
    let len = scene.measure(&broker)[way as usize];
    assert!(len > 300, "a life of {len} octets");
    for after in 0..=len {
        let cut = Some(Cut { way, after, how });
        let plan = Plan {
            cut,
            ..Plan::default()
        };
        let proxy = Proxy::start(&broker, plan);
        // Connections are dealt out in turn: once on each shard.
        (0..shard_count).for_each(|_| scene.live(&proxy));
        let passed = proxy.passed(way);
        assert_eq!(
            passed,
            after * shard_count as u64,
            "not where it should be cut"
        );
    }
    scene.end();
}

#[test]
fn a_peer_reset_after_any_octet_it_sent_leaves_nothing_on_one_shard() {
    cut_everywhere(1, Way::ToBroker, How::Reset);
}

#[test]
fn a_peer_reset_after_any_octet_it_sent_leaves_nothing_on_two_shards() {
    cut_everywhere(2, Way::ToBroker, How::Reset);
}

#[test]
fn a_peer_reset_after_any_octet_it_was_sent_leaves_nothing_on_one_shard() {
    cut_everywhere(1, Way::ToPeer, How::Reset);
}

#[test]
fn a_peer_reset_after_any_octet_it_was_sent_leaves_nothing_on_two_shards() {
    cut_everywhere(2, Way::ToPeer, How::Reset);
}

#[test]
fn a_peer_that_stops_sending_after_any_octet_leaves_nothing() {
    cut_everywhere(2, Way::ToBroker, How::StopWriting);
}
