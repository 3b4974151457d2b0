//! From the protocol header to connection.open-ok (AMQP 0-9-1 2.2.4): who is there, and what
//! both sides can bear.

use super::super::shard::{Settings, User};
use super::super::violation::Violation;
use super::super::wire::arguments::{self, Value};
use super::super::wire::reply_code::ReplyCode;
use super::{Capabilities, Connection, Tuning};
use crate::limits::{FRAME_LEN_MIN, TABLE_DEPTH_MAX_BEFORE_OPEN};
use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::connection::{AMQPMethod, Start, StartOk, Tune, TuneOk};
use amq_protocol::types::{AMQPValue, FieldTable};

/// Each is something that this broker does; clients look them up before they rely on it.
const CAPABILITIES: [&str; 9] = [
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "consumer_priorities",
    "authentication_failure_close",
    "per_consumer_qos",
    "direct_reply_to",
];

/// Clients decide by product and version what methods mean. kombu, for one, expects `basic.qos` to
/// be as specified from all but RabbitMQ since 3.3: Celery's workers would change their prefetch in
/// vain. So they are told whose behaviour this is; our own name stands beside it.
const SPOKEN_AS: (&str, &str) = ("RabbitMQ", "3.10.8");

/// The client's name and password did not do. RabbitMQ tells nobody which of the two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticationFailure {
    pub mechanism: String,
    /// For the log.
    pub user: String,
}

pub fn start() -> AMQPClass {
    let text = |value: &str| AMQPValue::LongString(value.into());
    let mut capabilities = FieldTable::default();
    for name in CAPABILITIES {
        capabilities.insert(name.into(), AMQPValue::Boolean(true));
    }
    let mut properties = FieldTable::default();
    properties.insert("capabilities".into(), AMQPValue::FieldTable(capabilities));
    properties.insert("product".into(), text(SPOKEN_AS.0));
    properties.insert("version".into(), text(SPOKEN_AS.1));
    properties.insert("rondo".into(), text(env!("CARGO_PKG_VERSION")));
    properties.insert("platform".into(), text("Rust"));
    AMQPClass::Connection(AMQPMethod::Start(Start {
        version_major: 0,
        version_minor: 9,
        server_properties: properties,
        mechanisms: "PLAIN AMQPLAIN".into(),
        locales: "en_US".into(),
    }))
}

pub fn tune(settings: &Settings) -> AMQPClass {
    AMQPClass::Connection(AMQPMethod::Tune(Tune {
        channel_max: settings.channel_max,
        frame_max: settings.frame_len_max,
        heartbeat: settings.heartbeat_s,
    }))
}

/// Name and password from connection.start-ok.
/// Errors: 530 for another mechanism, 501-class for a response that has not its form.
fn credentials(start_ok: &StartOk) -> Result<(String, Vec<u8>), Violation> {
    let response = start_ok.response.as_bytes();
    let found = match start_ok.mechanism.as_str() {
        "PLAIN" => plain(response),
        "AMQPLAIN" => amqplain(response),
        other => {
            let text = format!("unknown authentication mechanism '{other}'");
            return Err(Violation::connection(ReplyCode::CommandInvalid, text));
        }
    };
    let (user, password) = found.ok_or_else(|| {
        Violation::connection(ReplyCode::SyntaxError, "malformed authentication response")
    })?;
    Ok((
        String::from_utf8_lossy(user).into_owned(),
        password.to_vec(),
    ))
}

/// Authorisation identity, user and password, parted by NUL (RFC 4616).
fn plain(response: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = response.splitn(3, |&octet| octet == 0);
    let (_identity, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    Some((user, password))
}

/// The inside of a field table with LOGIN and PASSWORD.
fn amqplain(response: &[u8]) -> Option<(&[u8], &[u8])> {
    arguments::check_table(response, TABLE_DEPTH_MAX_BEFORE_OPEN).ok()?;
    let text = |key: &[u8]| match arguments::find(response, key) {
        Some(Value::LongString(value)) => Some(value),
        _ => None,
    };
    Some((text(b"LOGIN")?, text(b"PASSWORD")?))
}

impl Connection {
    /// connection.start-ok: takes the user and the capabilities over.
    pub fn authenticate(
        &mut self,
        start_ok: &StartOk,
        users: &[User],
    ) -> Result<Result<(), AuthenticationFailure>, Violation> {
        self.capabilities = capabilities(&start_ok.client_properties);
        let (name, password) = credentials(start_ok)?;
        let is_local = self.peer.ip().is_loopback();
        let accepted = users.iter().any(|user| {
            user.name == name
                && (is_local || !user.loopback_only)
                && equal_in_constant_time(user.password.as_bytes(), &password)
        });
        if !accepted {
            let mechanism = start_ok.mechanism.to_string();
            return Ok(Err(AuthenticationFailure {
                mechanism,
                user: name,
            }));
        }
        self.user = name;
        Ok(Ok(()))
    }

    /// connection.tune-ok: lower than proposed is honoured, higher is refused, zero means "as you
    /// like".
    pub fn tuned(&mut self, tune_ok: &TuneOk, settings: &Settings) -> Result<(), Violation> {
        let refused = |text: String| Err(Violation::connection(ReplyCode::NotAllowed, text));
        let frame_len_max = match tune_ok.frame_max {
            0 => settings.frame_len_max,
            low if low < FRAME_LEN_MIN => {
                return refused(format!(
                    "negotiated frame_max = {low} is lower than the minimum allowed value \
                     ({FRAME_LEN_MIN})"
                ));
            }
            high if high > settings.frame_len_max => {
                return refused(format!(
                    "negotiated frame_max = {high} is higher than the maximum allowed value ({})",
                    settings.frame_len_max
                ));
            }
            agreed => agreed,
        };
        let channel_max = match tune_ok.channel_max {
            0 => settings.channel_max,
            high if high > settings.channel_max => {
                return refused(format!(
                    "negotiated channel_max = {high} is higher than the maximum allowed value ({})",
                    settings.channel_max
                ));
            }
            agreed => agreed,
        };
        self.tuning = Tuning {
            frame_len_max,
            channel_max,
            heartbeat_s: tune_ok.heartbeat,
        };
        Ok(())
    }
}

fn capabilities(client_properties: &FieldTable) -> Capabilities {
    let given = client_properties.inner().get("capabilities");
    let is_set = |name: &str| match given {
        Some(AMQPValue::FieldTable(table)) => {
            table.inner().get(name) == Some(&AMQPValue::Boolean(true))
        }
        _ => false,
    };
    Capabilities {
        authentication_failure_close: is_set("authentication_failure_close"),
        consumer_cancel_notify: is_set("consumer_cancel_notify"),
        connection_blocked: is_set("connection.blocked"),
        rpc_errors: is_set("rpc_errors"),
    }
}

/// The time tells nothing of where the first difference is.
fn equal_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |found, (a, b)| found | (a ^ b));
    std::hint::black_box(difference) == 0 && a.len() == b.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use amq_protocol::types::LongString;

    fn start_ok(mechanism: &str, response: &[u8]) -> StartOk {
        StartOk {
            client_properties: FieldTable::default(),
            mechanism: mechanism.into(),
            response: LongString::from(response),
            locale: "en_US".into(),
        }
    }

    #[test]
    fn plain_and_amqplain_give_the_same_credentials() {
        let plain = start_ok("PLAIN", b"\0guest\0secret");
        let amqplain = start_ok(
            "AMQPLAIN",
            b"\x05LOGINS\0\0\0\x05guest\x08PASSWORDS\0\0\0\x06secret",
        );
        for start_ok in [plain, amqplain] {
            let expected = ("guest".to_string(), b"secret".to_vec());
            assert_eq!(credentials(&start_ok), Ok(expected));
        }
    }

    #[test]
    fn a_response_without_its_form_is_refused() {
        for (mechanism, response) in [
            ("PLAIN", &b"guest"[..]),
            ("AMQPLAIN", b"\x05LOGIN"),
            ("EXTERNAL", b""),
        ] {
            assert!(credentials(&start_ok(mechanism, response)).is_err());
        }
    }

    #[test]
    fn passwords_are_compared_whole() {
        assert!(equal_in_constant_time(b"guest", b"guest"));
        assert!(!equal_in_constant_time(b"guest", b"gues"));
        assert!(!equal_in_constant_time(b"guest", b"guess"));
        assert!(!equal_in_constant_time(b"", b"x"));
    }
}
