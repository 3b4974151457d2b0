//! A message: borrowed while it passes through, owned once it must be kept.

use super::address::{CallOctets, CallToken};
use super::wire::properties::PropertyParts;
use bytes::Bytes;

/// Content with its addressing, borrowed from wherever it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    pub exchange: &'a [u8],
    pub routing_key: &'a [u8],
    pub properties: PropertyParts<'a>,
    pub body: &'a [u8],
    /// The memory that `body` lies in, if whoever must keep the body may share it.
    pub shared: Option<&'a Bytes>,
    /// Of the request of a call that the broker follows.
    pub call: Option<&'a CallOctets>,
}

impl Content<'_> {
    /// Which call a request is, if it is one.
    pub fn call(&self) -> Option<CallToken> {
        self.call.map(CallToken::from_octets)
    }
}

/// The same, kept: one allocation, shared by clones.
///
/// Invariant: `bytes` is exchange, routing key, properties, body and, if `is_call`, what a call's
/// request carries, one after another; the first three as long as the fields say.
#[derive(Clone, Debug)]
pub struct Message {
    bytes: Bytes,
    exchange_len: u8,
    routing_key_len: u8,
    is_call: bool,
    properties_len: u32,
}

impl From<&Content<'_>> for Message {
    fn from(content: &Content<'_>) -> Message {
        let properties_len = content.properties.len();
        let len = content.exchange.len()
            + content.routing_key.len()
            + properties_len
            + content.body.len()
            + content.call.map_or(0, |call| call.len());
        let mut bytes = Vec::with_capacity(len);
        bytes.extend_from_slice(content.exchange);
        bytes.extend_from_slice(content.routing_key);
        for part in content.properties.0 {
            bytes.extend_from_slice(part);
        }
        bytes.extend_from_slice(content.body);
        if let Some(call) = content.call {
            bytes.extend_from_slice(call);
        }
        Message {
            bytes: Bytes::from(bytes),
            exchange_len: u8::try_from(content.exchange.len()).expect("a short string"),
            routing_key_len: u8::try_from(content.routing_key.len()).expect("a short string"),
            is_call: content.call.is_some(),
            properties_len: u32::try_from(properties_len).expect("fits a frame"),
        }
    }
}

/// Content on its way, which becomes a [`Message`] only if somebody must keep it, and once only.
#[derive(Debug)]
pub struct Passing<'a> {
    pub content: Content<'a>,
    message: Option<Message>,
}

impl<'a> Passing<'a> {
    #[inline]
    pub fn new(content: Content<'a>) -> Passing<'a> {
        Passing {
            content,
            message: None,
        }
    }

    pub fn kept(message: &'a Message) -> Passing<'a> {
        Passing {
            content: message.content(),
            message: Some(message.clone()),
        }
    }

    pub fn message(&mut self) -> Message {
        let content = &self.content;
        self.message
            .get_or_insert_with(|| Message::from(content))
            .clone()
    }
}

impl Message {
    pub fn content(&self) -> Content<'_> {
        let (exchange, rest) = self.bytes.split_at(self.exchange_len.into());
        let (routing_key, rest) = rest.split_at(self.routing_key_len.into());
        let (properties, rest) = rest.split_at(self.properties_len as usize);
        let (body, call) = match self.is_call {
            false => (rest, None),
            true => {
                let (body, call) = rest.split_last_chunk().expect("as long as what it says");
                (body, Some(call))
            }
        };
        Content {
            exchange,
            routing_key,
            properties: PropertyParts([properties, &[], &[]]),
            body,
            shared: Some(&self.bytes),
            call,
        }
    }

    /// Octets of the body.
    #[inline]
    pub fn body_len(&self) -> usize {
        let names_len = usize::from(self.exchange_len) + usize::from(self.routing_key_len);
        let call_len = usize::from(self.is_call) * size_of::<CallOctets>();
        self.bytes.len() - names_len - self.properties_len as usize - call_len
    }

    /// Is it the request of a call that the broker follows?
    #[inline]
    pub fn is_call(&self) -> bool {
        self.is_call
    }

    /// The same message with other properties.
    pub fn with_properties(&self, properties: &[u8]) -> Message {
        let content = self.content();
        Message::from(&Content {
            properties: PropertyParts([properties, &[], &[]]),
            ..content
        })
    }

    /// The same message as one that is no request of a call any more.
    pub fn unmarked(&self) -> Message {
        let content = self.content();
        Message::from(&Content {
            call: None,
            ..content
        })
    }

    /// The same message with other properties, exchange and routing key; no call any more.
    pub fn readdressed(&self, exchange: &[u8], routing_key: &[u8], properties: &[u8]) -> Message {
        Message::from(&Content {
            exchange,
            routing_key,
            properties: PropertyParts([properties, &[], &[]]),
            body: self.content().body,
            shared: None,
            call: None,
        })
    }

    /// Octets held.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_message_gives_back_its_content() {
        let content = Content {
            exchange: b"amq.topic",
            routing_key: b"a.b",
            properties: PropertyParts([b"\x02\x00", b"\x01x", b""]),
            body: b"body",
            shared: None,
            call: Some(&[7; size_of::<CallOctets>()]),
        };
        let message = Message::from(&content);
        let kept = message.content();
        assert_eq!(kept.exchange, content.exchange);
        assert_eq!(kept.routing_key, content.routing_key);
        assert_eq!(kept.properties.0.concat(), b"\x02\x00\x01x");
        assert_eq!(kept.body, content.body);
        assert_eq!(kept.call, content.call);
        let len = 9 + 3 + 4 + 4 + size_of::<CallOctets>();
        assert_eq!((message.len(), message.body_len()), (len, 4));
    }
}
