//! A thread's connections on its ring: what goes out, once a turn, and what came in.

use super::member::Member;
use super::shared::Clock;
use broker::runtime::ring::{Ring, RingSettings};
use std::time::Duration;
use std::{io, mem};

/// Field order matters: the ring ends its operations before the sockets go.
pub struct Sockets {
    pub ring: Ring,
    pub members: Vec<Member>,
    /// Members that may have something to send.
    dirty: Vec<usize>,
}

impl Sockets {
    /// Starts to receive from all of them. Errors: io_uring is missing or forbidden.
    pub fn new(members: Vec<Member>) -> io::Result<Sockets> {
        let ring = Ring::new(&RingSettings::default())?;
        let mut sockets = Sockets {
            ring,
            members,
            dirty: Vec::new(),
        };
        for index in 0..sockets.members.len() {
            sockets.receive(index);
            sockets.mark_dirty(index);
        }
        Ok(sockets)
    }

    pub fn receive(&mut self, index: usize) {
        let token = u32::try_from(index).expect("the plan limits the connections");
        self.ring.receive(self.members[index].fd(), token);
    }

    pub fn mark_dirty(&mut self, index: usize) {
        let member = &mut self.members[index];
        if !member.is_dirty {
            member.is_dirty = true;
            self.dirty.push(index);
        }
    }

    /// Sends what is there, once for each connection, and waits for something to come.
    pub fn turn(&mut self, wait: Duration, clock: &Clock) -> io::Result<()> {
        let now = clock.now();
        let mut dirty = mem::take(&mut self.dirty);
        for index in dirty.drain(..) {
            let member = &mut self.members[index];
            member.is_dirty = false;
            if member.is_sending {
                continue;
            }
            if member.client.has_outbound() && !member.is_shut {
                let empty = mem::take(&mut member.spare);
                let octets = member.client.take_outbound(empty, now);
                self.send(index, octets, 0);
            } else if member.is_over() {
                member.shut();
            }
        }
        self.dirty = dirty;
        self.ring.turn(Some(wait))
    }

    /// One send is over, perhaps short of its end. Gives how the member fares, once all is sent.
    pub fn handle_sent(
        &mut self,
        index: usize,
        mut buffer: Vec<u8>,
        result: io::Result<usize>,
    ) -> Option<io::Result<()>> {
        let member = &mut self.members[index];
        match result {
            Ok(len) if member.sent_len + len < buffer.len() => {
                let from = member.sent_len + len;
                self.send(index, buffer, from);
                None
            }
            result => {
                member.is_sending = false;
                buffer.clear();
                member.spare = buffer;
                Some(result.map(drop))
            }
        }
    }

    fn send(&mut self, index: usize, octets: Vec<u8>, from: usize) {
        let token = u32::try_from(index).expect("the plan limits the connections");
        let member = &mut self.members[index];
        member.is_sending = true;
        member.sent_len = from;
        self.ring.send(member.fd(), token, octets, from);
    }
}
