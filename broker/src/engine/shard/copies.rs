//! Routing keys that a message names in its headers: `CC`, and `BCC`, which nobody gets to see.

use super::mail::PublishOrigin;
use super::publish::{Fate, Publication};
use super::{Shard, Slot};
use crate::engine::address::{ReplyName, parse_reply_name};
use crate::engine::message::Content;
use crate::engine::violation::Violation;
use crate::engine::wire::arguments::{self, Value};
use crate::engine::wire::properties::Properties;
use crate::engine::wire::reply_code::ReplyCode;
use crate::limits::{COPY_COUNT_MAX, TABLE_DEPTH_MAX};
use std::iter;

const CC: &[u8] = b"CC";
const BCC: &[u8] = b"BCC";

/// Invariant: each key is a short string and stands in `keys` once.
pub(super) struct Copies<'a> {
    pub(super) keys: Vec<&'a [u8]>,
    has_blind: bool,
}

impl<'a> Copies<'a> {
    /// `headers`: the inside of a field table, checked. `None`: neither header is there. What is in
    /// the lists and cannot be a routing key is passed over, as RabbitMQ does. Errors: 406 for a
    /// header that is no list, or for too many keys.
    pub(super) fn named_in(headers: &'a [u8]) -> Result<Option<Copies<'a>>, Violation> {
        let (mut copies, mut blind_copies) = (None, None);
        for (key, value) in arguments::entries(headers) {
            match key {
                CC => copies = copies.or(Some(value)),
                BCC => blind_copies = blind_copies.or(Some(value)),
                _ => {}
            }
        }
        if copies.is_none() && blind_copies.is_none() {
            return Ok(None);
        }
        let mut keys = Vec::new();
        for (header, value) in [("CC", copies), ("BCC", blind_copies)] {
            if let Some(value) = value {
                extend_keys(&mut keys, header, value)?;
            }
        }
        keys.sort_unstable();
        keys.dedup();
        Ok(Some(Copies {
            keys,
            has_blind: blind_copies.is_some(),
        }))
    }
}

fn extend_keys<'a>(
    keys: &mut Vec<&'a [u8]>,
    header: &str,
    value: Value<'a>,
) -> Result<(), Violation> {
    let refused = |text| Err(Violation::channel(ReplyCode::PreconditionFailed, text));
    let Value::Array(inside) = value else {
        let found = value.type_name();
        return refused(format!(
            "invalid message: {{unacceptable_type_in_header,\"{header}\",{found}}}"
        ));
    };
    for element in arguments::elements(inside) {
        if let Value::LongString(key) = element
            && key.len() <= 255
        {
            if keys.len() == COPY_COUNT_MAX {
                return refused(format!("more than {COPY_COUNT_MAX} keys in CC and BCC"));
            }
            keys.push(key);
        }
    }
    Ok(())
}

impl Shard {
    #[cold]
    pub(super) fn publish_copies(
        &mut self,
        slot: Slot,
        number: u16,
        publication: &Publication<'_>,
        properties: &Properties<'_>,
        copies: &Copies<'_>,
    ) -> Result<(), Violation> {
        if !copies.has_blind {
            return self.publish_to(slot, number, publication, properties, &copies.keys);
        }
        let headers = properties.headers().unwrap_or_default();
        let shown = properties.rewritten(&arguments::without(headers, BCC), true);
        let properties = Properties::walk(&shown, TABLE_DEPTH_MAX)?;
        self.publish_to(slot, number, publication, &properties, &copies.keys)
    }

    /// The default exchange, each key on its own; no queue and no requester gets the message twice.
    #[cold]
    pub(super) fn route_default_copies(
        &mut self,
        slot: Slot,
        content: &Content<'_>,
        copies: &[&[u8]],
        origin: PublishOrigin,
    ) -> Fate {
        let others = copies.iter().copied();
        let others = others.filter(|key| *key != content.routing_key);
        let mut routed = std::mem::take(&mut self.agenda.routed);
        let mut is_replied = false;
        let vhost = self.vhost_of(slot);
        for key in iter::once(content.routing_key).chain(others) {
            match parse_reply_name(key) {
                Some(ReplyName::Full { opaque }) => {
                    let fate = self.publish_reply(slot, opaque, content, None);
                    is_replied |= fate != Fate::Unroutable;
                }
                Some(ReplyName::Bare) => {}
                None => routed.extend(self.address_of(vhost, key)),
            }
        }
        routed.sort_unstable();
        routed.dedup();
        match self.hand_to_queues(slot, routed, content, origin) {
            Fate::Unroutable if is_replied => Fate::HandedOn,
            fate => fate,
        }
    }
}
