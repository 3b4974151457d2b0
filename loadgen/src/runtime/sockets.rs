//! A thread's connections on its ring: what goes out, once a turn, and what came in.

use super::connect::Seat;
use super::member::{Member, Rest};
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
        self.members[index].is_receiving = true;
        self.ring.receive(self.members[index].fd(), token);
    }

    pub fn cancel_receive(&mut self, index: usize) {
        let token = u32::try_from(index).expect("the plan limits the connections");
        self.ring.cancel_receive(token);
    }

    /// Another connection, in a place where none was.
    pub fn add(&mut self, seat: Seat) -> usize {
        self.members.push(Member::new(seat));
        let index = self.members.len() - 1;
        self.receive(index);
        self.mark_dirty(index);
        index
    }

    /// Another connection in the place of one that is gone.
    pub fn replace(&mut self, index: usize, seat: Seat) {
        let mut member = Member::new(seat);
        let gone = &mut self.members[index];
        debug_assert!(!gone.has_socket());
        member.is_dirty = gone.is_dirty;
        *gone = member;
        self.receive(index);
        self.mark_dirty(index);
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
                let cuts = member.client.take_cuts();
                if cuts.is_empty() {
                    self.send(index, octets, 0);
                } else {
                    self.send_in_pieces(index, octets, cuts);
                }
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
            Ok(len) if member.sent_len + len < buffer.len() && !member.is_shut => {
                let from = member.sent_len + len;
                self.send(index, buffer, from);
                None
            }
            Ok(_) if member.rest.is_some() && !member.is_shut => {
                self.send_next_piece(index);
                None
            }
            result => {
                member.is_sending = false;
                member.rest = None;
                buffer.clear();
                member.spare = buffer;
                Some(result.map(drop))
            }
        }
    }

    fn send_in_pieces(&mut self, index: usize, octets: Vec<u8>, cuts: Vec<usize>) {
        self.members[index].rest = Some(Box::new(Rest {
            octets,
            cuts,
            sent_len: 0,
        }));
        self.send_next_piece(index);
    }

    /// The piece after the one that is sent, as a client writes that flushes too often.
    fn send_next_piece(&mut self, index: usize) {
        let Some(mut rest) = self.members[index].rest.take() else {
            return;
        };
        let from = rest.sent_len;
        let cut = rest.cuts.iter().find(|cut| **cut > from).copied();
        let to = cut.unwrap_or(rest.octets.len()).min(rest.octets.len());
        let piece = rest.octets[from..to].to_vec();
        rest.sent_len = to;
        if to < rest.octets.len() {
            self.members[index].rest = Some(rest);
        }
        self.send(index, piece, 0);
    }

    fn send(&mut self, index: usize, octets: Vec<u8>, from: usize) {
        let token = u32::try_from(index).expect("the plan limits the connections");
        let member = &mut self.members[index];
        member.is_sending = true;
        member.sent_len = from;
        self.ring.send(member.fd(), token, octets, from);
    }
}
