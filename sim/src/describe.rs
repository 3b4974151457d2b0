//! Lines of a trace.

use crate::oracle::Act;
use crate::wire::{Content, Heard};
use amq_protocol::protocol::basic::AMQPMethod as Basic;

const LEN_MAX: usize = 180;

pub fn heard(heard: &Heard) -> String {
    match heard {
        Heard::ProtocolHeader => "protocol header".into(),
        Heard::Heartbeat => "heartbeat".into(),
        Heard::Method(channel, method) => format!("{channel} {}", short(method)),
        Heard::Content(content) => describe(content),
    }
}

pub fn act(act: &Act) -> String {
    short(act)
}

fn describe(content: &Content) -> String {
    let Content {
        channel,
        method,
        properties,
        body,
    } = content;
    let id = properties
        .message_id()
        .as_ref()
        .map_or("?", |id| id.as_str());
    let len = body.len();
    let again = |redelivered: bool| if redelivered { " again" } else { "" };
    match method {
        Basic::Deliver(d) => format!(
            "{channel} deliver m{id}{} tag {} to '{}', {len} octets",
            again(d.redelivered),
            d.delivery_tag,
            d.consumer_tag
        ),
        Basic::GetOk(g) => format!(
            "{channel} get-ok m{id}{} tag {}, {len} octets",
            again(g.redelivered),
            g.delivery_tag
        ),
        Basic::Return(r) => format!("{channel} return m{id} {}", r.reply_code),
        other => format!("{channel} {other:?}"),
    }
}

/// The derived text, without what says nothing, cut.
fn short(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}").replace("FieldTable({})", "{}");
    match text.char_indices().nth(LEN_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}
