//! The peer's fault: what closes its channel or its connection.

use super::wire::basic::CLASS_BASIC;
use super::wire::cursor::Malformed;
use super::wire::frame::FrameError;
use super::wire::method::MethodError;
use super::wire::reply_code::ReplyCode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Channel,
    Connection,
}

/// Class and method id of the method that failed; (0, 0) when there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MethodId {
    pub class_id: u16,
    pub method_id: u16,
}

impl MethodId {
    pub const fn basic(method_id: u16) -> MethodId {
        MethodId {
            class_id: CLASS_BASIC,
            method_id,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub scope: Scope,
    pub code: ReplyCode,
    /// Without the code's name; see [`Violation::reply_text`].
    pub text: String,
    pub method: MethodId,
}

impl Violation {
    pub fn channel(code: ReplyCode, text: impl Into<String>) -> Violation {
        Violation {
            scope: Scope::Channel,
            code,
            text: text.into(),
            method: MethodId::default(),
        }
    }

    pub fn connection(code: ReplyCode, text: impl Into<String>) -> Violation {
        Violation {
            scope: Scope::Connection,
            code,
            text: text.into(),
            method: MethodId::default(),
        }
    }

    #[must_use]
    pub fn of(mut self, method: MethodId) -> Violation {
        if self.method == MethodId::default() {
            self.method = method;
        }
        self
    }

    /// "NOT_FOUND - no queue 'q' in vhost '/'", as RabbitMQ writes it, cut to a short string.
    pub fn reply_text(&self) -> String {
        let mut text = format!("{} - {}", self.code.name(), self.text);
        let mut len = text.len().min(255);
        while !text.is_char_boundary(len) {
            len -= 1;
        }
        text.truncate(len);
        text
    }
}

impl From<Malformed> for Violation {
    fn from(_: Malformed) -> Violation {
        Violation::connection(ReplyCode::SyntaxError, "malformed arguments")
    }
}

impl From<FrameError> for Violation {
    fn from(error: FrameError) -> Violation {
        let text = match error {
            FrameError::UnknownKind { kind } => format!("unknown frame type {kind}"),
            FrameError::TooLarge { payload_len } => {
                format!("frame payload of {payload_len} octets exceeds the negotiated frame_max")
            }
            FrameError::MissingEnd { found } => format!("frame end octet is {found}, not 206"),
        };
        Violation::connection(ReplyCode::FrameError, text)
    }
}

impl From<MethodError> for Violation {
    fn from(error: MethodError) -> Violation {
        match error {
            MethodError::Malformed {
                class_id,
                method_id,
            } => Violation::from(Malformed).of(MethodId {
                class_id,
                method_id,
            }),
            MethodError::Unknown {
                class_id,
                method_id,
            } => Violation::connection(
                ReplyCode::CommandInvalid,
                format!("unknown method {class_id}.{method_id}"),
            )
            .of(MethodId {
                class_id,
                method_id,
            }),
        }
    }
}
