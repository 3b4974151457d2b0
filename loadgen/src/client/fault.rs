//! Why a connection can do no more calls: each a named reason in the report.

use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The broker closed the connection, with its own code and text.
    ConnectionClosed { code: u16, text: String },
    /// The broker closed the channel.
    ChannelClosed { code: u16, text: String },
    /// A NATS server's -ERR.
    NatsError { text: String },
    /// The broker cancelled the consumer: its queue is gone.
    ConsumerCancelled,
    /// Nothing came from the broker for two heartbeat intervals.
    Silent,
    /// The octets are no AMQP 0-9-1.
    Malformed { what: &'static str },
    /// AMQP, but not what must come here.
    Unexpected { class_id: u16, method_id: u16 },
    /// Something that this generator cannot do.
    Unsupported { what: &'static str },
    /// The peer closed the socket without a word.
    Disconnected,
    /// The socket failed.
    Socket { text: String },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::ConnectionClosed { code, text } => write!(f, "connection.close {code} {text}"),
            Fault::ChannelClosed { code, text } => write!(f, "channel.close {code} {text}"),
            Fault::NatsError { text } => write!(f, "-ERR {text}"),
            Fault::ConsumerCancelled => write!(f, "basic.cancel by the broker"),
            Fault::Silent => write!(f, "no octet from the broker for two heartbeats"),
            Fault::Malformed { what } => write!(f, "malformed octets from the server: {what}"),
            Fault::Unexpected {
                class_id,
                method_id,
            } => {
                write!(
                    f,
                    "unexpected method {class_id}.{method_id} from the broker"
                )
            }
            Fault::Unsupported { what } => write!(f, "not supported: {what}"),
            Fault::Disconnected => write!(f, "disconnected by the server"),
            Fault::Socket { text } => write!(f, "socket error: {text}"),
        }
    }
}
