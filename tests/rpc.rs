//! Callers and workers: the two styles of request and reply, on raw peers.

use crate::wire::Properties;
use crate::work::NO_ACK;
use crate::{Broker, Delivery, Peer, unique};

pub const REPLY_TO: &str = "amq.rabbitmq.reply-to";

/// Answers requests from one queue.
pub struct Worker {
    pub peer: Peer,
    pub queue: String,
}

/// Calls by direct reply-to.
pub struct Caller {
    pub peer: Peer,
    issued: u64,
}

/// A caller and a worker that must not notice what other peers do.
pub struct Bystander {
    caller: Caller,
    worker: Worker,
}

impl Worker {
    /// Declares a queue and consumes from it without acknowledgements.
    pub fn start(broker: &Broker) -> Worker {
        let mut peer = Peer::open(broker);
        let queue = unique("rpc");
        peer.declare(1, &queue, crate::work::AUTO_DELETE);
        peer.consume(1, &queue, "", NO_ACK);
        Worker { peer, queue }
    }

    #[track_caller]
    pub fn next_request(&mut self) -> Delivery {
        self.peer.expect_delivery(1)
    }

    pub fn answer(&mut self, request: &Delivery, body: &[u8]) {
        let mut properties = Properties::default();
        if let Some(id) = request.correlation_id() {
            properties = properties.correlation_id(&id);
        }
        self.peer.publish(1, &request.reply_to(), &properties, body);
    }
}

impl Caller {
    pub fn start(broker: &Broker) -> Caller {
        let mut peer = Peer::open(broker);
        peer.consume(1, REPLY_TO, "", NO_ACK);
        Caller { peer, issued: 0 }
    }

    /// Sends a request; the correlation id it carries.
    pub fn request(&mut self, queue: &str, body: &[u8]) -> String {
        self.issued += 1;
        let id = format!("call-{}", self.issued);
        let properties = Properties::default().reply_to(REPLY_TO).correlation_id(&id);
        self.peer.publish(1, queue, &properties, body);
        id
    }

    #[track_caller]
    pub fn next_reply(&mut self) -> Delivery {
        self.peer.expect_delivery(1)
    }
}

/// One whole call.
#[track_caller]
pub fn call(caller: &mut Caller, worker: &mut Worker, body: &[u8]) {
    let id = caller.request(&worker.queue, body);
    let request = worker.next_request();
    assert_eq!(request.body, body);
    worker.answer(&request, body);
    let reply = caller.next_reply();
    assert_eq!(reply.correlation_id(), Some(id));
    assert_eq!(reply.body, body);
}

impl Bystander {
    pub fn start(broker: &Broker) -> Bystander {
        // Connections are dealt out in turn: these two are on different shards if there are two.
        Bystander {
            worker: Worker::start(broker),
            caller: Caller::start(broker),
        }
    }

    #[track_caller]
    pub fn must_be_served(&mut self) {
        call(&mut self.caller, &mut self.worker, b"are you still there?");
    }
}
