//! Confirms: every publish is told of once, and what was said is kept to.

use super::{Conn, Oracle};
use crate::rules::Overflow;

impl Oracle {
    /// basic.ack or basic.nack is sent to a publisher.
    pub(super) fn confirmed(
        &mut self,
        conn: Conn,
        number: u16,
        (tag, multiple): (u64, bool),
        is_taken: bool,
    ) {
        let view = self.channel_mut(conn, number);
        let from = if multiple { 0 } else { tag };
        let covered = view.unconfirmed.range(from..=tag);
        let covered: Vec<(u64, usize)> = covered.map(|(tag, id)| (*tag, *id)).collect();
        if !covered.iter().any(|(covered, _)| *covered == tag) {
            return self.fail(format!(
                "c{conn}/{number}: confirm {tag} of nothing unconfirmed"
            ));
        }
        for (tag, id) in covered {
            self.channel_mut(conn, number).unconfirmed.remove(&tag);
            self.tally.confirms += 1;
            let now = self.now;
            let message = &mut self.messages[id];
            message.make_certain(now);
            if message.must_return && !message.is_returned {
                self.fail(format!("c{conn}/{number}: confirm {tag} before its return"));
            }
            match is_taken {
                true => self.messages[id].is_acked = true,
                false => self.refused_message(id),
            }
        }
    }

    /// Some queue had no room for the message. Which one can be told if there is one only that may
    /// refuse; names that come and go may have led to others, but by an exchange only.
    fn refused_message(&mut self, id: usize) {
        self.tally.refusals += 1;
        let message = &mut self.messages[id];
        message.is_nacked = true;
        let may_refuse = |rules: &crate::rules::Rules| rules.may_refuse();
        let is_loose = match (&message.route, message.exchange.as_str()) {
            (super::Route::Loose, _) => true,
            (_, "") => false,
            _ => true,
        };
        if is_loose && self.loose.iter().any(|(_, rules)| may_refuse(rules)) {
            return;
        }
        let originals = message.copies.iter_mut();
        let mut refusing = originals.filter(|copy| {
            let view = &self.queues[copy.queue];
            copy.deaths.is_empty() && view.rules.may_refuse() && view.may_be_over()
        });
        let (first, is_alone) = (refusing.next(), refusing.next().is_none());
        let Some(copy) = first else {
            return self.fail(format!("m{id} is refused by nobody"));
        };
        if !is_alone {
            return;
        }
        if copy.was_sent() {
            return self.fail(format!("m{id} is refused, but was sent"));
        }
        // What is dead-lettered instead is looked for among the dead.
        let is_dead = self.queues[copy.queue].rules.overflow == Overflow::RejectPublishDlx;
        copy.is_refused = !is_dead;
    }
}
