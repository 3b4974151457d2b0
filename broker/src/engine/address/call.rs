//! What the reply address of a followed call says beside its caller's channel.

use super::super::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A call in its shard's book: `generation` is never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallKey {
    pub index: u32,
    pub generation: u64,
}

impl CallKey {
    pub const MIN: CallKey = CallKey {
        index: 0,
        generation: 0,
    };
}

/// A call, as all shards know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallAddress {
    /// The caller's.
    pub shard: u16,
    pub key: CallKey,
}

/// Not sealed: whoever knows the address around it may end its channel's calls anyway, and the
/// book believes nothing but the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallToken {
    pub call: CallAddress,
    /// When the broker had the request.
    pub began: Timestamp,
    /// [`Timestamp::NEVER`]: its caller waits as long as it takes.
    pub deadline: Timestamp,
    /// The broker answers where no worker can, and a reply behind its answer is dropped.
    pub errors: bool,
    /// How many calls it stands for where calls are measured.
    pub weight: u32,
}

/// A token as a message carries it.
pub type CallOctets = [u8; CallToken::LEN];

/// Characters of a token.
const TEXT_LEN: usize = (CallToken::LEN * 4).div_ceil(3);

impl CallToken {
    const LEN: usize = 2 + 4 + 8 + 8 + 8 + 1 + 4;

    pub fn to_octets(&self) -> CallOctets {
        let mut octets = [0; CallToken::LEN];
        let CallAddress { shard, key } = self.call;
        octets[..2].copy_from_slice(&shard.to_le_bytes());
        octets[2..6].copy_from_slice(&key.index.to_le_bytes());
        octets[6..14].copy_from_slice(&key.generation.to_le_bytes());
        octets[14..22].copy_from_slice(&self.began.0.to_le_bytes());
        octets[22..30].copy_from_slice(&self.deadline.0.to_le_bytes());
        octets[30] = u8::from(self.errors);
        octets[31..].copy_from_slice(&self.weight.to_le_bytes());
        octets
    }

    pub fn from_octets(octets: &CallOctets) -> CallToken {
        let [s0, s1, i0, i1, i2, i3, rest @ ..] = octets;
        let number = |at: usize| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&rest[at..at + 8]);
            u64::from_le_bytes(eight)
        };
        let key = CallKey {
            index: u32::from_le_bytes([*i0, *i1, *i2, *i3]),
            generation: number(0),
        };
        let shard = u16::from_le_bytes([*s0, *s1]);
        let [.., w0, w1, w2, w3] = octets;
        CallToken {
            call: CallAddress { shard, key },
            began: Timestamp(number(8)),
            deadline: Timestamp(number(16)),
            errors: rest[24] != 0,
            weight: u32::from_le_bytes([*w0, *w1, *w2, *w3]),
        }
    }

    /// As it stands in a reply address.
    pub fn to_text(self) -> [u8; TEXT_LEN] {
        let mut text = [0; TEXT_LEN];
        let encoded = URL_SAFE_NO_PAD.encode_slice(self.to_octets(), &mut text);
        assert_eq!(encoded, Ok(TEXT_LEN), "four characters for three octets");
        text
    }

    /// `None`: not one that this process writes.
    pub fn from_text(text: &[u8]) -> Option<CallToken> {
        if text.len() != TEXT_LEN {
            return None;
        }
        let mut octets = [0; CallToken::LEN];
        let decoded = URL_SAFE_NO_PAD.decode_slice(text, &mut octets).ok()?;
        let token = CallToken::from_octets(&octets);
        (decoded == CallToken::LEN && token.to_octets() == octets).then_some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_and_nothing_else_is() {
        let token = CallToken {
            call: CallAddress {
                shard: 3,
                key: CallKey {
                    index: 7,
                    generation: u64::MAX - 1,
                },
            },
            began: Timestamp(12),
            deadline: Timestamp::NEVER,
            errors: true,
            weight: 77,
        };
        let text = token.to_text();
        assert_eq!(CallToken::from_text(&text), Some(token));
        assert_eq!(CallToken::from_text(&text[1..]), None);
        assert_eq!(CallToken::from_text(b""), None);
        assert_eq!(CallToken::from_text(&[b'.'; TEXT_LEN]), None);
        assert_eq!(CallToken::from_text(&[b'_'; TEXT_LEN]), None);
    }
}
