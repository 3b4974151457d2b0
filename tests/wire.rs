//! Bytes of AMQP 0-9-1 as a test wants them, legal or not: a builder that checks nothing.

pub const PROTOCOL_HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";
pub const METHOD: u8 = 1;
pub const HEADER: u8 = 2;
pub const BODY: u8 = 3;
pub const HEARTBEAT: u8 = 8;
pub const FRAME_END: u8 = 0xCE;

/// One whole frame.
pub fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = frame_start(kind, channel, payload.len() as u32);
    bytes.extend_from_slice(payload);
    bytes.push(FRAME_END);
    bytes
}

/// The seven octets before a frame's payload.
pub fn frame_start(kind: u8, channel: u16, payload_len: u32) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&channel.to_be_bytes());
    bytes.extend_from_slice(&payload_len.to_be_bytes());
    bytes
}

/// A payload under construction: a method's, a table's, or any other run of AMQP values.
#[derive(Clone, Default)]
pub struct Bytes(pub Vec<u8>);

/// The payload of a method, its class and method id written.
pub fn method(class_id: u16, method_id: u16) -> Bytes {
    Bytes::default().short(class_id).short(method_id)
}

impl Bytes {
    pub fn raw(mut self, bytes: &[u8]) -> Bytes {
        self.0.extend_from_slice(bytes);
        self
    }
    pub fn octet(self, value: u8) -> Bytes {
        self.raw(&[value])
    }
    pub fn short(self, value: u16) -> Bytes {
        self.raw(&value.to_be_bytes())
    }
    pub fn long(self, value: u32) -> Bytes {
        self.raw(&value.to_be_bytes())
    }
    pub fn longlong(self, value: u64) -> Bytes {
        self.raw(&value.to_be_bytes())
    }
    pub fn shortstr(self, text: &str) -> Bytes {
        let len = u8::try_from(text.len()).expect("a short string has up to 255 octets");
        self.octet(len).raw(text.as_bytes())
    }
    pub fn longstr(self, bytes: &[u8]) -> Bytes {
        self.long(bytes.len() as u32).raw(bytes)
    }
    /// A table whose entries are already encoded.
    pub fn table(self, entries: &[u8]) -> Bytes {
        self.longstr(entries)
    }
    pub fn frame(&self, channel: u16) -> Vec<u8> {
        frame(METHOD, channel, &self.0)
    }
}

/// The property flags and list of a content header; each property is `(flag bit, encoded)`.
#[derive(Clone, Default)]
pub struct Properties(Vec<(u8, Vec<u8>)>);

pub const HEADERS_BIT: u8 = 13;
pub const DELIVERY_MODE_BIT: u8 = 12;
pub const CORRELATION_ID_BIT: u8 = 10;
pub const REPLY_TO_BIT: u8 = 9;
pub const USER_ID_BIT: u8 = 4;

impl Properties {
    pub fn with(mut self, bit: u8, value: Bytes) -> Properties {
        self.0.push((bit, value.0));
        // Properties follow each other from the highest flag bit to the lowest.
        self.0.sort_by_key(|(bit, _)| std::cmp::Reverse(*bit));
        self
    }
    pub fn reply_to(self, name: &str) -> Properties {
        self.with(REPLY_TO_BIT, Bytes::default().shortstr(name))
    }
    pub fn correlation_id(self, id: &str) -> Properties {
        self.with(CORRELATION_ID_BIT, Bytes::default().shortstr(id))
    }
    pub fn encode(&self) -> Vec<u8> {
        let flags = self.0.iter().fold(0u16, |flags, (bit, _)| flags | 1 << bit);
        let mut bytes = flags.to_be_bytes().to_vec();
        self.0
            .iter()
            .for_each(|(_, value)| bytes.extend_from_slice(value));
        bytes
    }
}

/// A content header frame of class basic.
pub fn content_header(channel: u16, body_len: u64, properties: &[u8]) -> Vec<u8> {
    let payload = Bytes::default()
        .short(60)
        .short(0)
        .longlong(body_len)
        .raw(properties);
    frame(HEADER, channel, &payload.0)
}

pub fn publish(exchange: &str, routing_key: &str, mandatory: bool) -> Bytes {
    method(60, 40)
        .short(0)
        .shortstr(exchange)
        .shortstr(routing_key)
        .octet(mandatory.into())
}

/// `table_depth` tables inside each other, as table entries.
pub fn nested_tables(table_depth: usize) -> Vec<u8> {
    (0..table_depth).fold(Vec::new(), |inner, _| {
        Bytes::default().shortstr("t").octet(b'F').table(&inner).0
    })
}
