//! Where channels and queues live, and names that carry an address which nobody can guess.
//!
//! A direct reply-to name and a server-named queue's name hold the address itself plus a keyed
//! check (SipHash-2-4 with a secret drawn at start), so routing to them needs no table, their
//! churn needs no broadcast, and a forged one is refused on the shard that reads it.

mod call;

pub use call::{CallAddress, CallKey, CallOctets, CallToken};

use super::name::Name;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use siphasher::sip::SipHasher24;

/// A virtual host, by its place in the settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VhostIndex(pub u16);

/// A connection during its life: `generation` is never given twice by a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionAddress {
    pub shard: u16,
    pub slot: u32,
    pub generation: u64,
}

/// A channel from `channel.open` to its close: `generation` is never given twice by a shard, so
/// that mail for an earlier channel of the same number is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChannelAddress {
    pub shard: u16,
    pub channel: u16,
    pub slot: u32,
    pub generation: u64,
}

/// A queue from its declaration to its deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueAddress {
    pub shard: u16,
    pub index: u32,
    pub generation: u64,
}

pub const REPLY_TO: &[u8] = b"amq.rabbitmq.reply-to";
/// LavinMQ's spelling; a client gets back the one that it used.
pub const REPLY_TO_LAVINMQ: &[u8] = b"amq.direct.reply-to";
const GENERATED_QUEUE: &[u8] = b"amq.gen-";

/// Whom a reply is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyAddress {
    pub channel: ChannelAddress,
    /// Of a call that the broker follows.
    pub token: Option<CallToken>,
}

const ADDRESS_LEN: usize = 16;
const SEALED_LEN: usize = ADDRESS_LEN + 8;
/// Characters of a sealed address.
const OPAQUE_LEN: usize = SEALED_LEN / 3 * 4;

/// What the spelling of a reply name says, before its check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyName<'a> {
    /// Exactly one of the two spellings.
    Bare,
    /// A spelling, a dot and the rest.
    Full { opaque: &'a [u8] },
}

/// `None`: not a reply name.
#[inline]
pub fn parse_reply_name(name: &[u8]) -> Option<ReplyName<'_>> {
    if !name.starts_with(b"amq.") {
        return None;
    }
    let rest = name
        .strip_prefix(REPLY_TO)
        .or_else(|| name.strip_prefix(REPLY_TO_LAVINMQ))?;
    match rest {
        [] => Some(ReplyName::Bare),
        [b'.', opaque @ ..] => Some(ReplyName::Full { opaque }),
        _ => None,
    }
}

/// Seals and opens addresses with the secret that all shards of the process share.
#[derive(Clone, Debug)]
pub struct Sealer {
    replies: SipHasher24,
    queues: SipHasher24,
}

impl Sealer {
    pub fn new(secret: [u8; 16]) -> Sealer {
        // Two keys from one secret: a queue's name must never pass as a reply address.
        let mut other = secret;
        other[15] ^= 0x5A;
        Sealer {
            replies: SipHasher24::new_with_key(&secret),
            queues: SipHasher24::new_with_key(&other),
        }
    }

    /// `spelling` is [`REPLY_TO`] or [`REPLY_TO_LAVINMQ`].
    pub fn reply_name(&self, spelling: &[u8], to: ChannelAddress) -> Name {
        let address = pack(to.shard, to.channel, to.slot, to.generation);
        sealed(&[spelling, b"."].concat(), &self.replies, address)
    }

    /// The reply name of a followed call.
    pub fn call_name(&self, spelling: &[u8], to: ChannelAddress, token: &CallToken) -> Name {
        let name = self.reply_name(spelling, to);
        let whole = [name.as_bytes(), b".", &token.to_text()].concat();
        Name::from(whole.as_slice())
    }

    /// The address in a full reply name's opaque part; `None`: never issued by this process.
    #[inline]
    pub fn open_reply(&self, opaque: &[u8]) -> Option<ReplyAddress> {
        let (sealed, token) = match opaque.len() {
            OPAQUE_LEN => (opaque, None),
            _ => split_call(opaque)?,
        };
        let (shard, channel, slot, generation) = unpack(open(&self.replies, sealed)?);
        let channel = ChannelAddress {
            shard,
            channel,
            slot,
            generation,
        };
        Some(ReplyAddress { channel, token })
    }

    pub fn queue_name(&self, queue: QueueAddress, vhost: VhostIndex) -> Name {
        let address = pack(queue.shard, vhost.0, queue.index, queue.generation);
        sealed(GENERATED_QUEUE, &self.queues, address)
    }

    /// The address in a server-named queue's name; `None`: not one that this process gave in this
    /// virtual host.
    #[inline]
    pub fn open_queue(&self, name: &[u8], vhost: VhostIndex) -> Option<QueueAddress> {
        let opaque = name.strip_prefix(GENERATED_QUEUE)?;
        let (shard, given_in, index, generation) = unpack(open(&self.queues, opaque)?);
        (given_in == vhost.0).then_some(QueueAddress {
            shard,
            index,
            generation,
        })
    }
}

/// The address of a followed call: sealed part, a dot, and the token.
#[cold]
fn split_call(opaque: &[u8]) -> Option<(&[u8], Option<CallToken>)> {
    let (sealed, rest) = opaque.split_at_checked(OPAQUE_LEN)?;
    let token = CallToken::from_text(rest.strip_prefix(b".")?)?;
    Some((sealed, Some(token)))
}

fn pack(shard: u16, channel_or_vhost: u16, slot: u32, generation: u64) -> [u8; ADDRESS_LEN] {
    let mut bytes = [0; ADDRESS_LEN];
    bytes[..2].copy_from_slice(&shard.to_le_bytes());
    bytes[2..4].copy_from_slice(&channel_or_vhost.to_le_bytes());
    bytes[4..8].copy_from_slice(&slot.to_le_bytes());
    bytes[8..].copy_from_slice(&generation.to_le_bytes());
    bytes
}

fn unpack(b: [u8; ADDRESS_LEN]) -> (u16, u16, u32, u64) {
    let [s0, s1, c0, c1, a, b0, c, d, g @ ..] = b;
    (
        u16::from_le_bytes([s0, s1]),
        u16::from_le_bytes([c0, c1]),
        u32::from_le_bytes([a, b0, c, d]),
        u64::from_le_bytes(g),
    )
}

fn sealed(prefix: &[u8], key: &SipHasher24, address: [u8; ADDRESS_LEN]) -> Name {
    let mut plain = [0; SEALED_LEN];
    plain[..ADDRESS_LEN].copy_from_slice(&address);
    plain[ADDRESS_LEN..].copy_from_slice(&key.hash(&address).to_le_bytes());
    let mut name = prefix.to_vec();
    let mut opaque = [0; OPAQUE_LEN];
    URL_SAFE_NO_PAD
        .encode_slice(plain, &mut opaque)
        .expect("four characters for three octets");
    name.extend_from_slice(&opaque);
    Name::from(name.as_slice())
}

#[inline]
fn open(key: &SipHasher24, opaque: &[u8]) -> Option<[u8; ADDRESS_LEN]> {
    if opaque.len() != OPAQUE_LEN {
        return None;
    }
    let mut plain = [0; SEALED_LEN];
    URL_SAFE_NO_PAD
        .decode_slice_unchecked(opaque, &mut plain)
        .ok()?;
    let (address, check) = plain.split_first_chunk::<ADDRESS_LEN>()?;
    (key.hash(address).to_le_bytes() == *check).then_some(*address)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: ChannelAddress = ChannelAddress {
        shard: 1,
        channel: 7,
        slot: 42,
        generation: 9,
    };

    fn opaque(name: &Name) -> Vec<u8> {
        match parse_reply_name(name.as_bytes()) {
            Some(ReplyName::Full { opaque }) => opaque.to_vec(),
            other => panic!("not a full reply name: {other:?}"),
        }
    }

    #[test]
    fn a_reply_name_opens_to_its_address_in_both_spellings() {
        let sealer = Sealer::new([3; 16]);
        for spelling in [REPLY_TO, REPLY_TO_LAVINMQ] {
            let name = sealer.reply_name(spelling, TO);
            assert!(name.as_bytes().starts_with(spelling));
            let to = ReplyAddress {
                channel: TO,
                token: None,
            };
            assert_eq!(sealer.open_reply(&opaque(&name)), Some(to));
        }
    }

    #[test]
    fn a_changed_or_foreign_name_does_not_open() {
        let sealer = Sealer::new([3; 16]);
        let name = opaque(&sealer.reply_name(REPLY_TO, TO));
        for i in 0..name.len() {
            let mut forged = name.clone();
            forged[i] = if forged[i] == b'A' { b'B' } else { b'A' };
            assert_eq!(sealer.open_reply(&forged), None, "octet {i}");
        }
        assert_eq!(Sealer::new([4; 16]).open_reply(&name), None);
        assert_eq!(sealer.open_reply(b""), None);
        assert_eq!(sealer.open_reply(&[b'='; 32]), None);
    }

    #[test]
    fn a_queue_name_is_no_reply_address() {
        let sealer = Sealer::new([3; 16]);
        let queue = QueueAddress {
            shard: 1,
            index: 42,
            generation: 9,
        };
        let name = sealer.queue_name(queue, VhostIndex(3));
        let opened = |vhost| sealer.open_queue(name.as_bytes(), VhostIndex(vhost));
        assert_eq!((opened(3), opened(0)), (Some(queue), None));
        assert_eq!(
            sealer.open_reply(&name.as_bytes()[GENERATED_QUEUE.len()..]),
            None
        );
    }

    #[test]
    fn names_that_merely_begin_alike_are_not_reply_names() {
        assert_eq!(
            parse_reply_name(b"amq.rabbitmq.reply-to"),
            Some(ReplyName::Bare)
        );
        assert_eq!(parse_reply_name(b"amq.rabbitmq.reply-tox"), None);
        assert_eq!(
            parse_reply_name(b"amq.direct.reply-to."),
            Some(ReplyName::Full { opaque: b"" })
        );
    }
}
