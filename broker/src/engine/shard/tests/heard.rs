//! What a peer hears, parsed by `amq-protocol`, content put together.

use amq_protocol::frame::{AMQPContentHeader, AMQPFrame, parse_frame};
use amq_protocol::protocol::basic::{AMQPMethod as Basic, AMQPProperties};
use amq_protocol::protocol::channel::AMQPMethod as ChannelMethod;
use amq_protocol::protocol::connection::AMQPMethod as ConnectionMethod;
use amq_protocol::protocol::queue::AMQPMethod as QueueMethod;
use amq_protocol::protocol::{AMQPClass, confirm, exchange, tx};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    ProtocolHeader,
    Heartbeat,
    Method(u16, AMQPClass),
    Content(Box<Content>),
}

/// basic.deliver, get-ok or return, whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    pub channel: u16,
    pub method: Basic,
    pub properties: AMQPProperties,
    pub body: Vec<u8>,
}

/// Puts frames together to what was said.
#[derive(Default)]
pub struct Ear {
    pub heard: Vec<Heard>,
    pub largest_frame: usize,
    open: BTreeMap<u16, (Basic, Option<AMQPContentHeader>, Vec<u8>)>,
}

impl Ear {
    /// The engine gives out whole frames only.
    pub fn hear(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (behind, frame) = parse_frame(rest).expect("the broker sends whole frames");
            self.largest_frame = self.largest_frame.max(rest.len() - behind.len());
            rest = behind;
            self.frame(frame);
        }
    }

    fn frame(&mut self, frame: AMQPFrame) {
        match frame {
            AMQPFrame::ProtocolHeader(_) => self.heard.push(Heard::ProtocolHeader),
            AMQPFrame::Heartbeat => self.heard.push(Heard::Heartbeat),
            AMQPFrame::InvalidHeartbeat(channel) => panic!("heartbeat on channel {channel}"),
            AMQPFrame::Method(channel, method) => {
                assert!(!self.open.contains_key(&channel), "content is not cut");
                match method {
                    AMQPClass::Basic(
                        method @ (Basic::Deliver(_) | Basic::GetOk(_) | Basic::Return(_)),
                    ) => drop(self.open.insert(channel, (method, None, Vec::new()))),
                    method => self.heard.push(Heard::Method(channel, method)),
                }
            }
            AMQPFrame::Header(channel, header) => {
                let open = self.open.get_mut(&channel).expect("behind its method");
                assert!(open.1.replace(header).is_none(), "one header");
                self.conclude(channel);
            }
            AMQPFrame::Body(channel, body) => {
                let open = self.open.get_mut(&channel).expect("behind its header");
                assert!(!body.is_empty() && open.1.is_some());
                open.2.extend(body);
                self.conclude(channel);
            }
        }
    }

    fn conclude(&mut self, channel: u16) {
        let (_, header, body) = &self.open[&channel];
        let body_size = header.as_ref().expect("set").body_size;
        assert!(body.len() as u64 <= body_size);
        if (body.len() as u64) < body_size {
            return;
        }
        let (method, header, body) = self.open.remove(&channel).expect("looked up above");
        self.heard.push(Heard::Content(Box::new(Content {
            channel,
            method,
            properties: header.expect("set").properties,
            body,
        })));
    }
}

impl Heard {
    pub fn line(&self) -> String {
        match self {
            Heard::ProtocolHeader => "protocol header".into(),
            Heard::Heartbeat => "heartbeat".into(),
            Heard::Method(channel, method) => format!("{channel} {}", method_line(method)),
            Heard::Content(content) => content.line(),
        }
    }

    pub fn content(self) -> Option<Content> {
        match self {
            Heard::Content(content) => Some(*content),
            _ => None,
        }
    }
}

impl Content {
    pub fn delivery_tag(&self) -> u64 {
        match &self.method {
            Basic::Deliver(deliver) => deliver.delivery_tag,
            Basic::GetOk(get_ok) => get_ok.delivery_tag,
            _ => panic!("no delivery: {}", self.line()),
        }
    }

    pub fn redelivered(&self) -> bool {
        match &self.method {
            Basic::Deliver(deliver) => deliver.redelivered,
            Basic::GetOk(get_ok) => get_ok.redelivered,
            _ => panic!("no delivery: {}", self.line()),
        }
    }

    pub fn reply_to(&self) -> String {
        let reply_to = self.properties.reply_to().as_ref();
        reply_to.expect("a message that wants a reply").to_string()
    }

    pub fn text(&self) -> String {
        match self.body.len() {
            0..=40 => String::from_utf8_lossy(&self.body).into_owned(),
            len => format!("<{len}>"),
        }
    }

    fn line(&self) -> String {
        let (channel, body) = (self.channel, self.text());
        match &self.method {
            Basic::Deliver(d) => format!(
                "{channel} deliver {} {}{} {}/{} {body}",
                d.consumer_tag,
                d.delivery_tag,
                flag(d.redelivered),
                d.exchange,
                d.routing_key
            ),
            Basic::GetOk(g) => format!(
                "{channel} get-ok {}{} {}/{} {body} {}",
                g.delivery_tag,
                flag(g.redelivered),
                g.exchange,
                g.routing_key,
                g.message_count
            ),
            Basic::Return(r) => format!(
                "{channel} return {} {} {}/{} {body}",
                r.reply_code, r.reply_text, r.exchange, r.routing_key
            ),
            other => format!("{channel} {other:?}"),
        }
    }
}

fn flag(redelivered: bool) -> &'static str {
    if redelivered { "!" } else { "" }
}

fn method_line(method: &AMQPClass) -> String {
    match method {
        AMQPClass::Connection(method) => connection_line(method),
        AMQPClass::Channel(ChannelMethod::Close(c)) => format!(
            "channel.close {} {}.{} {}",
            c.reply_code, c.class_id, c.method_id, c.reply_text
        ),
        AMQPClass::Channel(ChannelMethod::FlowOk(flow_ok)) => {
            format!("flow-ok {}", flow_ok.active)
        }
        AMQPClass::Channel(ChannelMethod::OpenOk(_)) => "channel.open-ok".into(),
        AMQPClass::Channel(ChannelMethod::CloseOk(_)) => "channel.close-ok".into(),
        AMQPClass::Queue(method) => queue_line(method),
        AMQPClass::Exchange(exchange::AMQPMethod::DeclareOk(_)) => "exchange.declare-ok".into(),
        AMQPClass::Exchange(exchange::AMQPMethod::DeleteOk(_)) => "exchange.delete-ok".into(),
        AMQPClass::Exchange(exchange::AMQPMethod::BindOk(_)) => "exchange.bind-ok".into(),
        AMQPClass::Exchange(exchange::AMQPMethod::UnbindOk(_)) => "exchange.unbind-ok".into(),
        AMQPClass::Confirm(confirm::AMQPMethod::SelectOk(_)) => "select-ok".into(),
        AMQPClass::Tx(tx::AMQPMethod::SelectOk(_)) => "tx.select-ok".into(),
        AMQPClass::Tx(tx::AMQPMethod::CommitOk(_)) => "commit-ok".into(),
        AMQPClass::Tx(tx::AMQPMethod::RollbackOk(_)) => "rollback-ok".into(),
        AMQPClass::Basic(method) => basic_line(method),
        other => format!("{other:?}"),
    }
}

fn connection_line(method: &ConnectionMethod) -> String {
    match method {
        ConnectionMethod::Close(c) => format!(
            "connection.close {} {}.{} {}",
            c.reply_code, c.class_id, c.method_id, c.reply_text
        ),
        ConnectionMethod::CloseOk(_) => "connection.close-ok".into(),
        ConnectionMethod::Start(_) => "start".into(),
        ConnectionMethod::Tune(t) => {
            format!("tune {} {} {}", t.channel_max, t.frame_max, t.heartbeat)
        }
        ConnectionMethod::OpenOk(_) => "open-ok".into(),
        ConnectionMethod::Blocked(blocked) => format!("blocked {}", blocked.reason),
        ConnectionMethod::Unblocked(_) => "unblocked".into(),
        other => format!("{other:?}"),
    }
}

fn queue_line(method: &QueueMethod) -> String {
    match method {
        QueueMethod::DeclareOk(d) => {
            let (messages, consumers) = (d.message_count, d.consumer_count);
            format!("declare-ok {} {messages} {consumers}", d.queue)
        }
        QueueMethod::BindOk(_) => "bind-ok".into(),
        QueueMethod::UnbindOk(_) => "unbind-ok".into(),
        QueueMethod::PurgeOk(p) => format!("purge-ok {}", p.message_count),
        QueueMethod::DeleteOk(d) => format!("delete-ok {}", d.message_count),
        other => format!("{other:?}"),
    }
}

fn basic_line(method: &Basic) -> String {
    match method {
        Basic::ConsumeOk(c) => format!("consume-ok {}", c.consumer_tag),
        Basic::CancelOk(c) => format!("cancel-ok {}", c.consumer_tag),
        Basic::Cancel(c) => format!("cancel {}", c.consumer_tag),
        Basic::QosOk(_) => "qos-ok".into(),
        Basic::GetEmpty(_) => "get-empty".into(),
        Basic::RecoverOk(_) => "recover-ok".into(),
        Basic::Ack(a) if a.multiple => format!("ack {} multiple", a.delivery_tag),
        Basic::Ack(a) => format!("ack {}", a.delivery_tag),
        Basic::Nack(n) if n.multiple => format!("nack {} multiple", n.delivery_tag),
        Basic::Nack(n) => format!("nack {}", n.delivery_tag),
        other => format!("{other:?}"),
    }
}
