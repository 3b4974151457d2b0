//! Every method that exists, in both directions.

use super::values::{FRAME_MAX, depth, name, reference_bytes, reference_frame, table};
use amq_protocol::frame::AMQPFrame;
use amq_protocol::protocol::{
    AMQPClass, access, basic, channel, confirm, connection, exchange, queue, tx,
};
use amq_protocol::types::{FieldTable, ShortString};
use broker::engine::wire::frame::split_frame;
use broker::engine::wire::method::{MethodError, decode_method, encode_method};
use proptest::prelude::*;

/// What the methods of a test are filled with.
#[derive(Clone, Debug)]
struct Filling {
    names: [ShortString; 3],
    text: String,
    flags: [bool; 5],
    short: u16,
    long: u32,
    table: FieldTable,
}

fn filling() -> impl Strategy<Value = Filling> {
    let names = proptest::array::uniform3(name());
    let flags = any::<[bool; 5]>();
    (names, ".{0,40}", flags, any::<u16>(), any::<u32>(), table()).prop_map(
        |(names, text, flags, short, long, table)| Filling {
            names,
            text,
            flags,
            short,
            long,
            table,
        },
    )
}

/// Every method of every class but the hot ones of basic, which `hot` has.
fn methods(filling: &Filling) -> Vec<AMQPClass> {
    let mut methods = Vec::new();
    methods.extend(
        of_connection(filling)
            .into_iter()
            .map(AMQPClass::Connection),
    );
    methods.extend(of_channel(filling).into_iter().map(AMQPClass::Channel));
    methods.extend(of_access(filling).into_iter().map(AMQPClass::Access));
    methods.extend(of_exchange(filling).into_iter().map(AMQPClass::Exchange));
    methods.extend(of_queue(filling).into_iter().map(AMQPClass::Queue));
    methods.extend(of_basic(filling).into_iter().map(AMQPClass::Basic));
    methods.extend(of_tx().into_iter().map(AMQPClass::Tx));
    methods.extend(of_confirm(filling).into_iter().map(AMQPClass::Confirm));
    methods
}

fn of_connection(filling: &Filling) -> Vec<connection::AMQPMethod> {
    use connection::AMQPMethod::*;
    let Filling {
        names: [a, b, _],
        text,
        short,
        long,
        table,
        ..
    } = filling.clone();
    vec![
        Start(connection::Start {
            version_major: 0,
            version_minor: 9,
            server_properties: table.clone(),
            mechanisms: text.as_str().into(),
            locales: text.as_str().into(),
        }),
        StartOk(connection::StartOk {
            client_properties: table,
            mechanism: a.clone(),
            response: text.as_str().into(),
            locale: b.clone(),
        }),
        Secure(connection::Secure {
            challenge: text.as_str().into(),
        }),
        SecureOk(connection::SecureOk {
            response: text.as_str().into(),
        }),
        Tune(connection::Tune {
            channel_max: short,
            frame_max: long,
            heartbeat: short,
        }),
        TuneOk(connection::TuneOk {
            channel_max: short,
            frame_max: long,
            heartbeat: short,
        }),
        Open(connection::Open {
            virtual_host: a.clone(),
        }),
        OpenOk(connection::OpenOk {}),
        Close(connection::Close {
            reply_code: short,
            reply_text: b.clone(),
            class_id: short,
            method_id: short,
        }),
        CloseOk(connection::CloseOk {}),
        Blocked(connection::Blocked { reason: a }),
        Unblocked(connection::Unblocked {}),
        UpdateSecret(connection::UpdateSecret {
            new_secret: text.as_str().into(),
            reason: b,
        }),
        UpdateSecretOk(connection::UpdateSecretOk {}),
    ]
}

fn of_channel(filling: &Filling) -> Vec<channel::AMQPMethod> {
    use channel::AMQPMethod::*;
    let Filling {
        names: [a, ..],
        flags,
        short,
        ..
    } = filling.clone();
    vec![
        Open(channel::Open {}),
        OpenOk(channel::OpenOk {}),
        Flow(channel::Flow { active: flags[0] }),
        FlowOk(channel::FlowOk { active: flags[0] }),
        Close(channel::Close {
            reply_code: short,
            reply_text: a,
            class_id: short,
            method_id: short,
        }),
        CloseOk(channel::CloseOk {}),
    ]
}

fn of_access(filling: &Filling) -> Vec<access::AMQPMethod> {
    use access::AMQPMethod::*;
    let Filling {
        names: [a, ..],
        flags: [exclusive, passive, active, write, read],
        ..
    } = filling.clone();
    vec![
        Request(access::Request {
            realm: a,
            exclusive,
            passive,
            active,
            write,
            read,
        }),
        RequestOk(access::RequestOk {}),
    ]
}

fn of_exchange(filling: &Filling) -> Vec<exchange::AMQPMethod> {
    use exchange::AMQPMethod::*;
    let Filling {
        names: [a, b, c],
        flags,
        table,
        ..
    } = filling.clone();
    vec![
        Declare(exchange::Declare {
            exchange: a.clone(),
            kind: b.clone(),
            passive: flags[0],
            durable: flags[1],
            auto_delete: flags[2],
            internal: flags[3],
            nowait: flags[4],
            arguments: table.clone(),
        }),
        DeclareOk(exchange::DeclareOk {}),
        Delete(exchange::Delete {
            exchange: a.clone(),
            if_unused: flags[0],
            nowait: flags[1],
        }),
        DeleteOk(exchange::DeleteOk {}),
        Bind(exchange::Bind {
            destination: a.clone(),
            source: b.clone(),
            routing_key: c.clone(),
            nowait: flags[0],
            arguments: table.clone(),
        }),
        BindOk(exchange::BindOk {}),
        Unbind(exchange::Unbind {
            destination: a,
            source: b,
            routing_key: c,
            nowait: flags[0],
            arguments: table,
        }),
        UnbindOk(exchange::UnbindOk {}),
    ]
}

fn of_queue(filling: &Filling) -> Vec<queue::AMQPMethod> {
    use queue::AMQPMethod::*;
    let Filling {
        names: [a, b, c],
        flags,
        long,
        table,
        ..
    } = filling.clone();
    vec![
        Declare(queue::Declare {
            queue: a.clone(),
            passive: flags[0],
            durable: flags[1],
            exclusive: flags[2],
            auto_delete: flags[3],
            nowait: flags[4],
            arguments: table.clone(),
        }),
        DeclareOk(queue::DeclareOk {
            queue: a.clone(),
            message_count: long,
            consumer_count: !long,
        }),
        Bind(queue::Bind {
            queue: a.clone(),
            exchange: b.clone(),
            routing_key: c.clone(),
            nowait: flags[0],
            arguments: table.clone(),
        }),
        BindOk(queue::BindOk {}),
        Purge(queue::Purge {
            queue: a.clone(),
            nowait: flags[0],
        }),
        PurgeOk(queue::PurgeOk {
            message_count: long,
        }),
        Delete(queue::Delete {
            queue: a.clone(),
            if_unused: flags[0],
            if_empty: flags[1],
            nowait: flags[2],
        }),
        DeleteOk(queue::DeleteOk {
            message_count: long,
        }),
        Unbind(queue::Unbind {
            queue: a,
            exchange: b,
            routing_key: c,
            arguments: table,
        }),
        UnbindOk(queue::UnbindOk {}),
    ]
}

fn of_basic(filling: &Filling) -> Vec<basic::AMQPMethod> {
    use basic::AMQPMethod::*;
    let Filling {
        names: [a, b, _],
        flags,
        short,
        table,
        ..
    } = filling.clone();
    vec![
        Qos(basic::Qos {
            prefetch_count: short,
            global: flags[0],
        }),
        QosOk(basic::QosOk {}),
        Consume(basic::Consume {
            queue: a.clone(),
            consumer_tag: b.clone(),
            no_local: flags[0],
            no_ack: flags[1],
            exclusive: flags[2],
            nowait: flags[3],
            arguments: table,
        }),
        ConsumeOk(basic::ConsumeOk {
            consumer_tag: a.clone(),
        }),
        Cancel(basic::Cancel {
            consumer_tag: a.clone(),
            nowait: flags[0],
        }),
        CancelOk(basic::CancelOk { consumer_tag: b }),
        Get(basic::Get {
            queue: a,
            no_ack: flags[0],
        }),
        GetEmpty(basic::GetEmpty {}),
        RecoverAsync(basic::RecoverAsync { requeue: flags[0] }),
        Recover(basic::Recover { requeue: flags[0] }),
        RecoverOk(basic::RecoverOk {}),
    ]
}

fn of_tx() -> Vec<tx::AMQPMethod> {
    use tx::AMQPMethod::*;
    vec![
        Select(tx::Select {}),
        SelectOk(tx::SelectOk {}),
        Commit(tx::Commit {}),
        CommitOk(tx::CommitOk {}),
        Rollback(tx::Rollback {}),
        RollbackOk(tx::RollbackOk {}),
    ]
}

fn of_confirm(filling: &Filling) -> Vec<confirm::AMQPMethod> {
    use confirm::AMQPMethod::*;
    vec![
        Select(confirm::Select {
            nowait: filling.flags[0],
        }),
        SelectOk(confirm::SelectOk {}),
    ]
}

proptest! {
    #[test]
    fn every_method_goes_both_ways(filling in filling(), channel: u16) {
        for method in methods(&filling) {
            let frame = AMQPFrame::Method(channel, method.clone());
            let mut out = Vec::new();
            encode_method(&mut out, channel, &method);
            prop_assert_eq!(&out, &reference_bytes(&frame));
            prop_assert_eq!(reference_frame(&out), frame);
            let split = split_frame(&out, FRAME_MAX).unwrap().unwrap();
            prop_assert_eq!(split.channel, channel);
            prop_assert_eq!(decode_method(split.payload, depth(&filling.table)), Ok(method));
        }
    }

    #[test]
    fn no_method_is_read_from_a_prefix_or_with_octets_to_spare(
        filling in filling(),
        cut: prop::sample::Index,
    ) {
        for method in methods(&filling) {
            let bytes = reference_bytes(&AMQPFrame::Method(1, method));
            let payload = &bytes[7..bytes.len() - 1];
            prop_assert!(decode_method(&payload[..cut.index(payload.len())], 16).is_err());
            prop_assert!(decode_method(&[payload, b"\x00"].concat(), 16).is_err());
        }
    }

    #[test]
    fn no_change_of_an_octet_makes_decoding_panic(
        filling in filling(),
        at: prop::sample::Index,
        octet: u8,
    ) {
        for method in methods(&filling) {
            let bytes = reference_bytes(&AMQPFrame::Method(1, method));
            let mut payload = bytes[7..bytes.len() - 1].to_vec();
            let at = at.index(payload.len());
            payload[at] = octet;
            if let Ok(method) = decode_method(&payload, 16) {
                encode_method(&mut Vec::new(), 1, &method);
            }
        }
    }
}

#[test]
fn the_methods_that_exist_are_the_ones_that_the_reference_knows() {
    // Enough zeros for the arguments of any method.
    for class_id in 0..=100_u16 {
        for method_id in 0..=130_u16 {
            let mut payload = [class_id.to_be_bytes(), method_id.to_be_bytes()].concat();
            let ids = payload.len();
            payload.resize(ids + 32, 0);
            let theirs = amq_protocol::protocol::parse_class(&payload[..]).is_ok();
            let ours = decode_method(&payload, 1);
            let is_unknown = ours
                == Err(MethodError::Unknown {
                    class_id,
                    method_id,
                });
            assert_eq!(theirs, !is_unknown, "{class_id} {method_id}");
        }
    }
}
