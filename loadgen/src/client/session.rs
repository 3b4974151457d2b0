//! One AMQP connection with one channel, from the protocol header to close-ok, without I/O:
//! frames go in, octets and events come out. It knows no calls.

use super::confirms::Confirmed;
use super::content::{Assembly, Content};
use super::fault::Fault;
use super::setup::{self, Purpose, Settings, Step};
use crate::arguments::ReplyStyle;
use amq_protocol::protocol::{AMQPClass, basic, channel, connection, queue};
use amq_protocol::types::{AMQPValue, FieldTable};
use broker::engine::time::Timestamp;
use broker::engine::wire::basic::{HotMethod, decode_hot, encode_heartbeat};
use broker::engine::wire::frame::{FrameError, FrameKind, PROTOCOL_HEADER, RawFrame};
use broker::engine::wire::method::{decode_method, encode_method};
use broker::limits::{FRAME_LEN_MAX, FRAME_LEN_MIN, TABLE_DEPTH_MAX};
use std::time::Duration;

/// The one channel that each connection opens.
pub const CHANNEL: u16 = 1;

/// Seconds; lower proposals of the broker are taken.
const HEARTBEAT_S_MAX: u16 = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    AwaitStart,
    AwaitTune,
    AwaitOpenOk,
    AwaitChannelOk,
    SettingUp(Step),
    Ready,
    /// Our close is sent; what still comes is read until close-ok.
    Closing,
    Closed,
}

/// What one frame came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    Nothing,
    /// The channel is open: deliveries may come, from the first of several queues.
    Opened,
    /// The set-up is done: calls may begin.
    Ready,
    Content(Content<'a>),
    /// A publish was confirmed, or refused (`is_ack` false).
    Confirmed(Confirmed),
    /// A call's own queue is there, under this name.
    Declared {
        queue: String,
    },
    /// A call's own queue is gone.
    Deleted,
    /// The broker has no room for what it would have to keep; or has again.
    Blocked(bool),
    /// The broker has confirmed our close.
    Closed,
}

/// The broker's name for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Server {
    pub product: String,
    pub version: String,
}

impl Server {
    /// Rondo gives clients the product whose behaviour it has, and its own version apart.
    fn named_by(properties: &FieldTable) -> Server {
        let rondo = text_of(properties, "rondo");
        if rondo.is_empty() {
            return Server {
                product: text_of(properties, "product"),
                version: text_of(properties, "version"),
            };
        }
        Server {
            product: "Rondo".to_owned(),
            version: rondo,
        }
    }
}

pub struct Session {
    settings: Settings,
    phase: Phase,
    frame_max: u32,
    heartbeat: Option<Duration>,
    last_received: Timestamp,
    last_sent: Timestamp,
    /// False after channel.flow: no more publishes until the broker says so.
    is_flowing: bool,
    own_queue: String,
    server: Server,
    assembly: Assembly,
}

impl Session {
    pub fn new(settings: Settings, now: Timestamp, outbound: &mut Vec<u8>) -> Session {
        outbound.extend_from_slice(&PROTOCOL_HEADER);
        Session {
            settings,
            phase: Phase::AwaitStart,
            frame_max: FRAME_LEN_MAX,
            heartbeat: None,
            last_received: now,
            last_sent: now,
            is_flowing: true,
            own_queue: String::new(),
            server: Server::default(),
            assembly: Assembly::new(),
        }
    }

    pub fn purpose(&self) -> &Purpose {
        &self.settings.purpose
    }

    pub fn has_queue_per_call(&self) -> bool {
        matches!(
            self.settings.purpose,
            Purpose::Requester {
                reply: ReplyStyle::QueuePerCall,
                ..
            }
        )
    }

    /// What the requester's requests carry as `reply_to`.
    pub fn reply_to(&self) -> &str {
        if self.own_queue.is_empty() {
            setup::DIRECT_REPLY_TO
        } else {
            &self.own_queue
        }
    }

    pub fn frame_max(&self) -> u32 {
        self.frame_max
    }

    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Named by the broker; empty if the connection has none.
    pub fn own_queue(&self) -> &str {
        &self.own_queue
    }

    pub fn is_flowing(&self) -> bool {
        self.is_flowing
    }

    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Octets came, of whatever kind.
    pub fn handle_received(&mut self, now: Timestamp) {
        self.last_received = now;
    }

    /// Octets go out, of whatever kind.
    pub fn handle_sent(&mut self, now: Timestamp) {
        self.last_sent = now;
    }

    /// Sends a heartbeat if it is time for one (AMQP 0-9-1 4.2.7). Errors: the broker is silent.
    pub fn handle_deadline(&self, now: Timestamp, outbound: &mut Vec<u8>) -> Result<(), Fault> {
        let Some(interval) = self.heartbeat else {
            return Ok(());
        };
        if now >= self.last_received.plus(2 * interval) {
            return Err(Fault::Silent);
        }
        // Half the interval: the broker must see some octet within each full one.
        if now >= self.last_sent.plus(interval / 2) && outbound.is_empty() {
            encode_heartbeat(outbound);
        }
        Ok(())
    }

    /// Says goodbye; `Event::Closed` follows.
    pub fn close(&mut self, outbound: &mut Vec<u8>) {
        if matches!(self.phase, Phase::Closing | Phase::Closed) {
            return;
        }
        if let (
            Phase::Ready,
            Purpose::Worker {
                queues,
                keeps_queues: true,
                ..
            },
        ) = (self.phase, &self.settings.purpose)
        {
            for queue in queues {
                encode_method(outbound, CHANNEL, &setup::delete(queue, true));
            }
        }
        self.phase = Phase::Closing;
        encode_method(outbound, 0, &setup::close());
    }

    pub fn handle_frame_error(&self, error: FrameError) -> Fault {
        match error {
            // The answer to a wrong protocol header is the right one, not a frame.
            FrameError::UnknownKind { .. } if self.phase == Phase::AwaitStart => {
                Fault::Unsupported {
                    what: "the server does not speak AMQP 0-9-1",
                }
            }
            FrameError::UnknownKind { .. } => Fault::Malformed {
                what: "unknown frame kind",
            },
            FrameError::TooLarge { .. } => Fault::Malformed {
                what: "frame over frame-max",
            },
            FrameError::MissingEnd { .. } => Fault::Malformed {
                what: "frame without its end",
            },
        }
    }

    pub fn handle_frame<'s>(
        &'s mut self,
        frame: RawFrame<'s>,
        outbound: &mut Vec<u8>,
    ) -> Result<Event<'s>, Fault> {
        let content = match frame.kind {
            FrameKind::Method => return self.handle_method(frame.payload, outbound),
            FrameKind::Header => self.assembly.handle_header(frame.payload)?,
            FrameKind::Body => self.assembly.handle_body(frame.payload)?,
            FrameKind::Heartbeat => None,
        };
        Ok(content.map_or(Event::Nothing, Event::Content))
    }

    fn handle_method<'s>(
        &'s mut self,
        payload: &[u8],
        outbound: &mut Vec<u8>,
    ) -> Result<Event<'s>, Fault> {
        match decode_hot(payload) {
            Ok(Some(HotMethod::Deliver(deliver))) => self.assembly.handle_deliver(&deliver)?,
            Ok(Some(HotMethod::Return(returned))) => self.assembly.handle_return(&returned)?,
            Ok(Some(HotMethod::Ack {
                delivery_tag,
                multiple,
            })) => return self.confirmed(delivery_tag, multiple, true),
            Ok(Some(HotMethod::Nack {
                delivery_tag,
                multiple,
                ..
            })) => return self.confirmed(delivery_tag, multiple, false),
            Ok(Some(_)) => return Err(unexpected(payload)),
            Ok(None) => return self.handle_cold_method(payload, outbound),
            Err(_) => {
                return Err(Fault::Malformed {
                    what: "method of class basic",
                });
            }
        }
        Ok(Event::Nothing)
    }

    fn confirmed<'s>(
        &self,
        delivery_tag: u64,
        multiple: bool,
        is_ack: bool,
    ) -> Result<Event<'s>, Fault> {
        match self.settings.purpose {
            Purpose::Requester {
                is_confirmed: true, ..
            } => Ok(Event::Confirmed(Confirmed {
                delivery_tag,
                multiple,
                is_ack,
            })),
            _ => Err(Fault::Malformed {
                what: "a confirm that nobody asked for",
            }),
        }
    }

    fn handle_cold_method<'s>(
        &mut self,
        payload: &[u8],
        outbound: &mut Vec<u8>,
    ) -> Result<Event<'s>, Fault> {
        let method = decode_method(payload, TABLE_DEPTH_MAX).map_err(|_| Fault::Malformed {
            what: "method arguments",
        })?;
        match method {
            AMQPClass::Connection(method) => self.handle_connection_method(method, outbound),
            AMQPClass::Channel(channel::AMQPMethod::Close(close)) => {
                encode_method(outbound, CHANNEL, &setup::channel_close_ok());
                let text = close.reply_text.to_string();
                Err(Fault::ChannelClosed {
                    code: close.reply_code,
                    text,
                })
            }
            AMQPClass::Channel(channel::AMQPMethod::Flow(flow)) => {
                self.is_flowing = flow.active;
                encode_method(outbound, CHANNEL, &setup::flow_ok(flow.active));
                Ok(Event::Nothing)
            }
            // The consumer of a queue that its call has deleted.
            AMQPClass::Basic(basic::AMQPMethod::Cancel(_)) if self.has_queue_per_call() => {
                Ok(Event::Nothing)
            }
            AMQPClass::Basic(basic::AMQPMethod::Cancel(_)) => Err(Fault::ConsumerCancelled),
            method => self.handle_answer(&method, payload, outbound),
        }
    }

    fn handle_connection_method<'s>(
        &mut self,
        method: connection::AMQPMethod,
        outbound: &mut Vec<u8>,
    ) -> Result<Event<'s>, Fault> {
        use connection::AMQPMethod as Method;
        match (self.phase, method) {
            (_, Method::Close(close)) => {
                encode_method(outbound, 0, &setup::close_ok());
                let text = close.reply_text.to_string();
                return Err(Fault::ConnectionClosed {
                    code: close.reply_code,
                    text,
                });
            }
            (_, Method::Blocked(_)) => return Ok(Event::Blocked(true)),
            (_, Method::Unblocked(_)) => return Ok(Event::Blocked(false)),
            (Phase::AwaitStart, Method::Start(start)) => {
                let offered = String::from_utf8_lossy(start.mechanisms.as_bytes()).into_owned();
                if !offered.split(' ').any(|mechanism| mechanism == "PLAIN") {
                    return Err(Fault::Unsupported {
                        what: "the server does not offer PLAIN",
                    });
                }
                self.server = Server::named_by(&start.server_properties);
                encode_method(outbound, 0, &setup::start_ok(&self.settings));
                self.phase = Phase::AwaitTune;
            }
            (Phase::AwaitTune, Method::Tune(tune)) => {
                encode_method(outbound, 0, &setup::tune_ok(self.agree(&tune)));
                encode_method(outbound, 0, &setup::open(&self.settings));
                self.phase = Phase::AwaitOpenOk;
            }
            (Phase::AwaitTune, Method::Secure(_)) => {
                return Err(Fault::Unsupported {
                    what: "a challenge after PLAIN",
                });
            }
            (Phase::AwaitOpenOk, Method::OpenOk(_)) => {
                encode_method(outbound, CHANNEL, &setup::channel_open());
                self.phase = Phase::AwaitChannelOk;
            }
            (Phase::Closing, Method::CloseOk(_)) => {
                self.phase = Phase::Closed;
                return Ok(Event::Closed);
            }
            (_, method) => {
                let method = AMQPClass::Connection(method);
                return Err(Fault::Unexpected {
                    class_id: method.get_amqp_class_id(),
                    method_id: method.get_amqp_method_id(),
                });
            }
        }
        Ok(Event::Nothing)
    }

    /// The smaller of both sides' limits, where 0 means none.
    fn agree(&mut self, tune: &connection::Tune) -> connection::TuneOk {
        let frame_max = match tune.frame_max {
            0 => FRAME_LEN_MAX,
            limit => limit.clamp(FRAME_LEN_MIN, FRAME_LEN_MAX),
        };
        let heartbeat = tune.heartbeat.min(HEARTBEAT_S_MAX);
        self.frame_max = frame_max;
        self.heartbeat = (heartbeat > 0).then(|| Duration::from_secs(u64::from(heartbeat)));
        connection::TuneOk {
            channel_max: tune.channel_max,
            frame_max,
            heartbeat,
        }
    }

    /// The answer to a method of the set-up sets off the next one.
    fn handle_answer<'s>(
        &mut self,
        method: &AMQPClass,
        payload: &[u8],
        outbound: &mut Vec<u8>,
    ) -> Result<Event<'s>, Fault> {
        let done = match (self.phase, method) {
            (Phase::AwaitChannelOk, AMQPClass::Channel(channel::AMQPMethod::OpenOk(_))) => None,
            (Phase::SettingUp(step), method) if step.is_answered_by(method) => {
                let is_own = matches!(self.purpose(), Purpose::Requester { .. });
                if let Some(name) = declared(method).filter(|_| is_own || step == Step::Heap) {
                    self.own_queue = name;
                }
                Some(step)
            }
            (Phase::Ready, method) if self.has_queue_per_call() => {
                return event_of_cycle(method).ok_or_else(|| unexpected(payload));
            }
            // Answers to what was under way when we closed.
            (Phase::Closing, _) => return Ok(Event::Nothing),
            _ => return Err(unexpected(payload)),
        };
        let Some(step) = self.settings.purpose.step_after(done) else {
            self.phase = Phase::Ready;
            return Ok(Event::Ready);
        };
        let method = self.settings.purpose.method(step, &self.own_queue);
        encode_method(outbound, CHANNEL, &method);
        self.phase = Phase::SettingUp(step);
        Ok(match done {
            None => Event::Opened,
            Some(_) => Event::Nothing,
        })
    }
}

/// The answers to what a call with a queue of its own sends.
fn event_of_cycle<'s>(method: &AMQPClass) -> Option<Event<'s>> {
    match method {
        AMQPClass::Queue(queue::AMQPMethod::DeleteOk(_)) => Some(Event::Deleted),
        AMQPClass::Basic(basic::AMQPMethod::ConsumeOk(_)) => Some(Event::Nothing),
        method => declared(method).map(|queue| Event::Declared { queue }),
    }
}

/// The queue's name, if this is declare-ok.
fn declared(method: &AMQPClass) -> Option<String> {
    match method {
        AMQPClass::Queue(queue::AMQPMethod::DeclareOk(declared)) => {
            Some(declared.queue.to_string())
        }
        _ => None,
    }
}

fn unexpected(payload: &[u8]) -> Fault {
    match payload {
        [class_high, class_low, method_high, method_low, ..] => Fault::Unexpected {
            class_id: u16::from_be_bytes([*class_high, *class_low]),
            method_id: u16::from_be_bytes([*method_high, *method_low]),
        },
        _ => Fault::Malformed {
            what: "method without its ids",
        },
    }
}

fn text_of(properties: &FieldTable, name: &str) -> String {
    match properties.inner().get(name) {
        Some(AMQPValue::LongString(text)) => String::from_utf8_lossy(text.as_bytes()).into_owned(),
        _ => String::new(),
    }
}
