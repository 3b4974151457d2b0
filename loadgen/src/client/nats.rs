//! One NATS connection, from the server's INFO on, without I/O: lines go in, octets and events
//! come out. It knows no calls, but that the last token of a reply's subject is the correlation id.
//!
//! A requester has one inbox for all its calls, as the official clients do: one subscription to
//! `inbox.*`, and each request names `inbox.<correlation id>` as where its reply shall go.

use super::content::{Content, Delivery};
use super::fault::Fault;
use super::session::{Event, Server};
use broker::engine::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::time::Duration;

/// Workers on one subject share its requests.
const QUEUE_GROUP: &str = "workers";

/// INFO lists a cluster's addresses; nothing that the server says in one line is longer.
const LINE_LEN_MAX: usize = 64 * 1024;

/// Larger messages are none of ours; they must not be taken into memory.
const MESSAGE_LEN_MAX: usize = 128 << 20;

/// A connection that heard nothing for this long asks; after twice this long it is dead.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// Behind the version in the first line of a message's headers (NATS protocol, HMSG).
const STATUS_NO_RESPONDERS: &[u8] = b"NATS/1.0 503";

#[derive(Clone, PartialEq, Eq)]
pub struct NatsSettings {
    /// Empty if the server asks for none.
    pub username: String,
    /// Without it the user name is a token.
    pub password: Option<String>,
    pub purpose: NatsPurpose,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NatsPurpose {
    /// Answers what is sent to `subject`.
    Worker { subject: String },
    /// Publishes to `subject`; replies come to subjects below `inbox`.
    Requester { subject: String, inbox: String },
}

impl NatsPurpose {
    pub fn requester(subject: String, run: u32, index: u32) -> NatsPurpose {
        let inbox = format!("_INBOX.{run:08x}.{index}");
        NatsPurpose::Requester { subject, inbox }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    AwaitInfo,
    /// CONNECT and SUB are sent, and a PING behind them: its answer is theirs.
    AwaitPong,
    Ready,
}

pub struct Nats {
    settings: NatsSettings,
    phase: Phase,
    body_len: usize,
    /// Octets before the correlation id in a reply's subject.
    inbox_len: usize,
    last_received: Timestamp,
    has_asked: bool,
    server: Server,
}

/// What the server says of itself first, as far as it matters here.
#[derive(Deserialize)]
#[serde(default)]
struct Info {
    version: String,
    headers: bool,
    tls_required: bool,
    max_payload: usize,
}

impl Default for Info {
    fn default() -> Info {
        Info {
            version: String::new(),
            headers: false,
            tls_required: false,
            max_payload: MESSAGE_LEN_MAX,
        }
    }
}

#[derive(Serialize)]
struct Connect<'a> {
    verbose: bool,
    pedantic: bool,
    name: &'static str,
    lang: &'static str,
    version: &'static str,
    protocol: u8,
    headers: bool,
    no_responders: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pass: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_token: Option<&'a str>,
}

impl Nats {
    pub fn new(settings: NatsSettings, body_len: usize, now: Timestamp) -> Nats {
        let inbox_len = match &settings.purpose {
            NatsPurpose::Worker { .. } => 0,
            NatsPurpose::Requester { inbox, .. } => inbox.len() + 1,
        };
        Nats {
            settings,
            phase: Phase::AwaitInfo,
            body_len,
            inbox_len,
            last_received: now,
            has_asked: false,
            server: Server::default(),
        }
    }

    pub fn purpose(&self) -> &NatsPurpose {
        &self.settings.purpose
    }

    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Octets came, of whatever kind.
    pub fn handle_received(&mut self, now: Timestamp) {
        self.last_received = now;
        self.has_asked = false;
    }

    /// Asks a silent server whether it is there. Errors: it did not answer.
    pub fn handle_deadline(&mut self, now: Timestamp, out: &mut Vec<u8>) -> Result<(), Fault> {
        if now >= self.last_received.plus(2 * PING_INTERVAL) {
            return Err(Fault::Silent);
        }
        if now >= self.last_received.plus(PING_INTERVAL) && !self.has_asked {
            self.has_asked = true;
            out.extend_from_slice(b"PING\r\n");
        }
        Ok(())
    }

    /// What the first complete message of `octets` came to, and its length; `None` if more octets
    /// are needed.
    pub fn split<'a>(
        &mut self,
        octets: &'a [u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<(Event<'a>, usize)>, Fault> {
        let Some(line_len) = octets.iter().position(|octet| *octet == b'\n') else {
            return if octets.len() > LINE_LEN_MAX {
                Err(malformed("line too long"))
            } else {
                Ok(None)
            };
        };
        let line = octets[..line_len].trim_ascii_end();
        let rest = &octets[line_len + 1..];
        let message = match line {
            [b'M', b'S', b'G', b' ', arguments @ ..] => Message::split(arguments, false, rest)?,
            [b'H', b'M', b'S', b'G', b' ', arguments @ ..] => {
                Message::split(arguments, true, rest)?
            }
            _ => return Ok(Some((self.handle_line(line, out)?, line_len + 1))),
        };
        if self.phase != Phase::Ready {
            return Err(malformed("message before the subscription's PONG"));
        }
        let event = |message: Message<'a>| {
            let event = Event::Content(self.content(&message));
            (event, line_len + 1 + message.payload_len)
        };
        Ok(message.map(event))
    }

    fn content<'a>(&self, message: &Message<'a>) -> Content<'a> {
        // A subject that is no reply's has no id, which is seen as foreign.
        let correlation = match self.settings.purpose {
            NatsPurpose::Worker { .. } => &[],
            NatsPurpose::Requester { .. } => {
                message.subject.get(self.inbox_len..).unwrap_or_default()
            }
        };
        if message.headers.starts_with(STATUS_NO_RESPONDERS) {
            return Content::NoResponders { correlation };
        }
        Content::Delivered(Delivery {
            delivery_tag: 0,
            redelivered: false,
            correlation,
            reply_to: message.reply_to,
            status: None,
            timing: None,
            body: message.body,
        })
    }

    fn handle_line<'a>(&mut self, line: &[u8], out: &mut Vec<u8>) -> Result<Event<'a>, Fault> {
        match (self.phase, line) {
            (_, b"PING") => out.extend_from_slice(b"PONG\r\n"),
            (Phase::AwaitPong, b"PONG") => {
                self.phase = Phase::Ready;
                return Ok(Event::Ready);
            }
            (_, b"PONG" | b"+OK") => {}
            (phase, [b'I', b'N', b'F', b'O', b' ', json @ ..]) => {
                let info = serde_json::from_slice(json).map_err(|_| malformed("INFO"))?;
                // A server tells it again when its cluster changes.
                if phase == Phase::AwaitInfo {
                    self.handle_info(info, out)?;
                }
            }
            (_, [b'-', b'E', b'R', b'R', text @ ..]) => {
                let text = String::from_utf8_lossy(text);
                let text = text.trim().trim_matches('\'').to_owned();
                return Err(Fault::NatsError { text });
            }
            (Phase::AwaitInfo, _) => {
                let what = "the server does not speak NATS";
                return Err(Fault::Unsupported { what });
            }
            _ => return Err(malformed("unknown NATS operation")),
        }
        Ok(Event::Nothing)
    }

    fn handle_info(&mut self, info: Info, out: &mut Vec<u8>) -> Result<(), Fault> {
        if info.tls_required {
            let what = "the server asks for TLS";
            return Err(Fault::Unsupported { what });
        }
        if self.body_len > info.max_payload {
            let what = "bodies over the server's max_payload";
            return Err(Fault::Unsupported { what });
        }
        let is_token = self.settings.password.is_none();
        let username = Some(self.settings.username.as_str()).filter(|name| !name.is_empty());
        let connect = Connect {
            verbose: false,
            pedantic: false,
            name: "loadgen",
            lang: "rust",
            version: env!("CARGO_PKG_VERSION"),
            protocol: 1,
            headers: info.headers,
            no_responders: info.headers,
            user: username.filter(|_| !is_token),
            pass: self.settings.password.as_deref(),
            auth_token: username.filter(|_| is_token),
        };
        let connect = serde_json::to_string(&connect).expect("plain values have a JSON form");
        let subscription = match &self.settings.purpose {
            NatsPurpose::Worker { subject } => format!("{subject} {QUEUE_GROUP}"),
            NatsPurpose::Requester { inbox, .. } => format!("{inbox}.*"),
        };
        write!(out, "CONNECT {connect}\r\nSUB {subscription} 1\r\nPING\r\n")
            .expect("a vector takes all octets");
        self.server = Server {
            product: "nats-server".to_owned(),
            version: info.version,
        };
        self.phase = Phase::AwaitPong;
        Ok(())
    }
}

/// MSG or HMSG with its payload.
struct Message<'a> {
    subject: &'a [u8],
    /// Empty if the message has none.
    reply_to: &'a [u8],
    /// Empty if the message has none.
    headers: &'a [u8],
    body: &'a [u8],
    /// Headers, body and the line's end behind them.
    payload_len: usize,
}

impl<'a> Message<'a> {
    /// `arguments`: subject, subscription, perhaps a reply subject, the headers' length if it has
    /// any, the length of all.
    fn split(
        arguments: &'a [u8],
        has_headers: bool,
        rest: &'a [u8],
    ) -> Result<Option<Message<'a>>, Fault> {
        let mut fields: [&[u8]; 5] = [&[]; 5];
        let mut count = 0;
        for field in arguments.split(|octet| *octet == b' ') {
            if field.is_empty() {
                continue;
            }
            *fields
                .get_mut(count)
                .ok_or_else(|| malformed("message arguments"))? = field;
            count += 1;
        }
        let (reply_to, lens) = match (&fields[..count], has_headers) {
            ([_, _, lens @ ..], false) if lens.len() == 1 => (&[][..], lens),
            ([_, _, reply_to, lens @ ..], false) if lens.len() == 1 => (*reply_to, lens),
            ([_, _, lens @ ..], true) if lens.len() == 2 => (&[][..], lens),
            ([_, _, reply_to, lens @ ..], true) if lens.len() == 2 => (*reply_to, lens),
            _ => return Err(malformed("message arguments")),
        };
        let total_len = parse_len(lens[lens.len() - 1])?;
        let headers_len = if has_headers { parse_len(lens[0])? } else { 0 };
        if headers_len > total_len {
            return Err(malformed("headers longer than the message"));
        }
        let Some((payload, tail)) = rest.split_at_checked(total_len) else {
            return Ok(None);
        };
        match tail {
            [b'\r', b'\n', ..] => {}
            [] | [b'\r'] => return Ok(None),
            _ => return Err(malformed("message longer than its line says")),
        }
        let (headers, body) = payload.split_at(headers_len);
        Ok(Some(Message {
            subject: fields[0],
            reply_to,
            headers,
            body,
            payload_len: total_len + 2,
        }))
    }
}

/// `PUB subject reply len`, the body, the end. `reply_to` may be empty; gives where the body lies.
pub fn push_message(out: &mut Vec<u8>, prefix: &[u8], correlation: &[u8], body: &[u8]) -> usize {
    out.extend_from_slice(prefix);
    out.extend_from_slice(correlation);
    out.push(b' ');
    push_decimal(out, body.len());
    out.extend_from_slice(b"\r\n");
    let body_at = out.len();
    out.extend_from_slice(body);
    out.extend_from_slice(b"\r\n");
    body_at
}

fn push_decimal(out: &mut Vec<u8>, mut value: usize) {
    let mut digits = [b'0'; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] += (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

fn parse_len(digits: &[u8]) -> Result<usize, Fault> {
    let wrong = || malformed("message length");
    let value = digits.iter().try_fold(0_usize, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| usize::from(digit - b'0'))?;
        Some(value * 10 + digit).filter(|value| *value <= MESSAGE_LEN_MAX)
    });
    value.filter(|_| !digits.is_empty()).ok_or_else(wrong)
}

fn malformed(what: &'static str) -> Fault {
    Fault::Malformed { what }
}

#[cfg(test)]
#[path = "nats/tests.rs"]
mod tests;
