//! What a program written with lapin sees.

use blackbox::{Broker, PATIENCE, on_one_and_two_shards, unique};
use futures_util::{StreamExt, future::join_all};
use lapin::message::Delivery;
use lapin::options::*;
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer};

use crate::run;

const REPLY_TO: &str = "amq.rabbitmq.reply-to";

async fn connect(broker: &Broker) -> Connection {
    Connection::connect(&broker.uri(), ConnectionProperties::default())
        .await
        .unwrap()
}

async fn declare(channel: &Channel, name: &str, options: QueueDeclareOptions) -> String {
    let queue = channel
        .queue_declare(name.into(), options, FieldTable::default())
        .await
        .unwrap();
    queue.name().to_string()
}

async fn consume(channel: &Channel, queue: &str, no_ack: bool) -> Consumer {
    let options = BasicConsumeOptions {
        no_ack,
        ..Default::default()
    };
    let arguments = FieldTable::default();
    channel
        .basic_consume(queue.into(), "".into(), options, arguments)
        .await
        .unwrap()
}

async fn publish(channel: &Channel, queue: &str, properties: BasicProperties, body: &[u8]) {
    let options = BasicPublishOptions::default();
    channel
        .basic_publish("".into(), queue.into(), options, body, properties)
        .await
        .unwrap();
}

async fn next(consumer: &mut Consumer) -> Delivery {
    let next = tokio::time::timeout(PATIENCE, consumer.next()).await;
    next.expect("a delivery in time")
        .expect("the consumer goes on")
        .unwrap()
}

fn auto_delete() -> QueueDeclareOptions {
    QueueDeclareOptions {
        auto_delete: true,
        ..Default::default()
    }
}

fn exclusive() -> QueueDeclareOptions {
    QueueDeclareOptions {
        exclusive: true,
        ..Default::default()
    }
}

/// A worker with prefetch 1 and manual acks that answers every request with its body reversed.
async fn start_worker(broker: &Broker, queue: &str) -> Connection {
    let connection = connect(broker).await;
    let channel = connection.create_channel().await.unwrap();
    declare(&channel, queue, auto_delete()).await;
    channel
        .basic_qos(1, BasicQosOptions::default())
        .await
        .unwrap();
    let mut requests = consume(&channel, queue, false).await;
    tokio::spawn(async move {
        while let Some(Ok(request)) = requests.next().await {
            let id = request.properties.correlation_id().clone().unwrap();
            let address = request.properties.reply_to().clone().unwrap();
            let body: Vec<u8> = request.data.iter().rev().copied().collect();
            let properties = BasicProperties::default().with_correlation_id(id);
            publish(&channel, address.as_str(), properties, &body).await;
            request.ack(BasicAckOptions::default()).await.unwrap();
        }
    });
    connection
}

/// Makes `count` calls from a connection of its own.
async fn make_calls(broker: &Broker, queue: &str, direct: bool, count: usize) {
    let connection = connect(broker).await;
    let channel = connection.create_channel().await.unwrap();
    let callback = match direct {
        true => REPLY_TO.to_owned(),
        false => declare(&channel, "", exclusive()).await,
    };
    let mut replies = consume(&channel, &callback, true).await;
    for number in 0..count {
        let id = format!("id-{number}");
        let properties = BasicProperties::default()
            .with_correlation_id(id.as_str().into())
            .with_reply_to(callback.as_str().into());
        publish(&channel, queue, properties, format!("{number}.").as_bytes()).await;
        let reply = next(&mut replies).await;
        let returned = reply
            .properties
            .correlation_id()
            .as_ref()
            .map(|id| id.to_string());
        assert_eq!(returned, Some(id));
        let forwards: Vec<u8> = reply.data.iter().rev().copied().collect();
        assert_eq!(forwards, format!("{number}.").as_bytes());
    }
    connection.close(200, "done".into()).await.unwrap();
}

fn calls_from_many_connections(direct: bool) {
    on_one_and_two_shards(|broker| {
        run(async {
            let queue = unique("lapin");
            let workers = [
                start_worker(broker, &queue).await,
                start_worker(broker, &queue).await,
                start_worker(broker, &queue).await,
            ];
            let callers = (0..8).map(|_| make_calls(broker, &queue, direct, 25));
            join_all(callers).await;
            for worker in &workers {
                worker.close(200, "done".into()).await.unwrap();
            }
        });
    });
}

#[test]
fn calls_by_direct_reply_to() {
    calls_from_many_connections(true);
}

#[test]
fn calls_by_callback_queue() {
    calls_from_many_connections(false);
}

#[test]
fn bindings_route_and_unbinding_stops_it() {
    on_one_and_two_shards(|broker| {
        run(async {
            let connection = connect(broker).await;
            let channel = connection.create_channel().await.unwrap();
            let exchange = unique("topics");
            let kind = lapin::ExchangeKind::Topic;
            let options = ExchangeDeclareOptions {
                auto_delete: true,
                ..Default::default()
            };
            let none = FieldTable::default;
            channel
                .exchange_declare(exchange.as_str().into(), kind, options, none())
                .await
                .unwrap();
            let queue = declare(&channel, "", exclusive()).await;
            let (queue, exchange) = (queue.as_str(), exchange.as_str());
            let options = QueueBindOptions::default();
            let key = || "a.#".into();
            channel
                .queue_bind(queue.into(), exchange.into(), key(), options, none())
                .await
                .unwrap();
            channel
                .confirm_select(ConfirmSelectOptions::default())
                .await
                .unwrap();
            assert!(is_routed(&channel, exchange, "a.b").await);
            assert!(!is_routed(&channel, exchange, "b.a").await);
            let got = channel
                .basic_get(queue.into(), BasicGetOptions::default())
                .await
                .unwrap();
            let got = got.expect("one message was routed");
            assert_eq!((got.message_count, got.routing_key.as_str()), (0, "a.b"));
            got.ack(BasicAckOptions::default()).await.unwrap();
            channel
                .queue_unbind(queue.into(), exchange.into(), key(), none())
                .await
                .unwrap();
            connection.close(200, "done".into()).await.unwrap();
        });
    });
}

/// Publishes with `mandatory` and a confirm: true if the message was not returned with 312.
async fn is_routed(channel: &Channel, exchange: &str, routing_key: &str) -> bool {
    let options = BasicPublishOptions {
        mandatory: true,
        ..Default::default()
    };
    let properties = BasicProperties::default();
    let (exchange, routing_key) = (exchange.into(), routing_key.into());
    let publish = channel.basic_publish(exchange, routing_key, options, b"x", properties);
    match publish.await.unwrap().await.unwrap() {
        Confirmation::Ack(None) => true,
        Confirmation::Ack(Some(returned)) => {
            assert_eq!(returned.reply_code, 312);
            assert_eq!(returned.delivery.data, b"x");
            false
        }
        other => panic!("not confirmed: {other:?}"),
    }
}

#[test]
fn a_nacked_message_comes_again_flagged_redelivered() {
    on_one_and_two_shards(|broker| {
        run(async {
            let connection = connect(broker).await;
            let channel = connection.create_channel().await.unwrap();
            let queue = declare(&channel, "", exclusive()).await;
            let mut consumer = consume(&channel, &queue, false).await;
            publish(&channel, &queue, BasicProperties::default(), b"again").await;
            let first = next(&mut consumer).await;
            assert!(!first.redelivered);
            let requeue = BasicNackOptions {
                requeue: true,
                ..Default::default()
            };
            first.nack(requeue).await.unwrap();
            let second = next(&mut consumer).await;
            assert_eq!(
                (second.redelivered, &second.data[..]),
                (true, &b"again"[..])
            );
            second.ack(BasicAckOptions::default()).await.unwrap();
            connection.close(200, "done".into()).await.unwrap();
        });
    });
}

#[test]
fn a_channel_error_reaches_the_program_with_its_code_and_spares_other_channels() {
    let broker = Broker::start(2);
    run(async {
        let connection = connect(&broker).await;
        let broken = connection.create_channel().await.unwrap();
        let whole = connection.create_channel().await.unwrap();
        let options = QueueDeclareOptions {
            passive: true,
            ..Default::default()
        };
        let declared = broken
            .queue_declare("absent".into(), options, FieldTable::default())
            .await;
        let text = declared.expect_err("the queue does not exist").to_string();
        assert!(
            text.contains("NOT_FOUND - no queue 'absent' in vhost '/'"),
            "{text}"
        );
        declare(&whole, "", exclusive()).await;
        connection.close(200, "done".into()).await.unwrap();
    });
}
