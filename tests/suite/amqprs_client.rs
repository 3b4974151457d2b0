//! What a program written with amqprs sees.

use amqprs::callbacks::{ChannelCallback, DefaultConnectionCallback};
use amqprs::channel::*;
use amqprs::connection::{Connection, OpenConnectionArguments};
use amqprs::{Ack, BasicProperties, Cancel, CloseChannel, Nack, Return};
use async_trait::async_trait;
use blackbox::{Broker, PATIENCE, on_one_and_two_shards, unique};
use futures_util::future::join_all;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::run;

const REPLY_TO: &str = "amq.rabbitmq.reply-to";

async fn connect(broker: &Broker) -> Connection {
    let (host, port) = (broker.address().ip().to_string(), broker.address().port());
    let arguments = OpenConnectionArguments::new(&host, port, "guest", "guest");
    let connection = Connection::open(&arguments).await.unwrap();
    connection
        .register_callback(DefaultConnectionCallback)
        .await
        .unwrap();
    connection
}

async fn exclusive_queue(channel: &Channel, name: &str) -> String {
    let mut arguments = QueueDeclareArguments::new(name);
    arguments.exclusive(true);
    let declared = channel.queue_declare(arguments).await.unwrap();
    declared.expect("nowait was not asked for").0
}

type Deliveries = UnboundedReceiver<ConsumerMessage>;

async fn consume(channel: &Channel, queue: &str, no_ack: bool) -> Deliveries {
    let mut arguments = BasicConsumeArguments::new(queue, "");
    arguments.manual_ack(!no_ack);
    channel.basic_consume_rx(arguments).await.unwrap().1
}

async fn publish(channel: &Channel, queue: &str, properties: BasicProperties, body: &[u8]) {
    let arguments = BasicPublishArguments::new("", queue);
    channel
        .basic_publish(properties, body.to_vec(), arguments)
        .await
        .unwrap();
}

/// A delivery's tag, flag, properties and body.
async fn next(deliveries: &mut Deliveries) -> (u64, bool, BasicProperties, Vec<u8>) {
    let next = tokio::time::timeout(PATIENCE, deliveries.recv()).await;
    let message = next
        .expect("a delivery in time")
        .expect("the consumer goes on");
    let deliver = message.deliver.expect("a delivery has a method");
    let properties = message.basic_properties.expect("a delivery has properties");
    let body = message.content.expect("a delivery has a body");
    (
        deliver.delivery_tag(),
        deliver.redelivered(),
        properties,
        body,
    )
}

async fn answer_requests(channel: Channel, mut requests: Deliveries, count: usize) {
    for _ in 0..count {
        let (tag, _, request, body) = next(&mut requests).await;
        let address = request
            .reply_to()
            .expect("requests carry an address")
            .clone();
        let mut properties = BasicProperties::default();
        properties.with_correlation_id(request.correlation_id().expect("requests carry an id"));
        publish(&channel, &address, properties, &body).await;
        channel
            .basic_ack(BasicAckArguments::new(tag, false))
            .await
            .unwrap();
    }
    // Explicitly: amqprs takes the answer to a dropped channel's close for the connection's.
    channel.close().await.unwrap();
}

async fn make_calls(broker: &Broker, queue: &str, direct: bool, count: usize) {
    let connection = connect(broker).await;
    let channel = connection.open_channel(None).await.unwrap();
    let callback = match direct {
        true => REPLY_TO.to_owned(),
        false => exclusive_queue(&channel, "").await,
    };
    let mut replies = consume(&channel, &callback, true).await;
    for number in 0..count {
        let id = format!("id-{number}");
        let mut properties = BasicProperties::default();
        properties.with_correlation_id(&id).with_reply_to(&callback);
        publish(&channel, queue, properties, id.as_bytes()).await;
        let (_, _, reply, body) = next(&mut replies).await;
        assert_eq!(reply.correlation_id(), Some(&id));
        assert_eq!(body, id.as_bytes());
    }
    channel.close().await.unwrap();
    connection.close().await.unwrap();
}

fn calls_from_many_connections(direct: bool) {
    const CALLERS: usize = 6;
    const CALLS: usize = 20;
    on_one_and_two_shards(|broker| {
        run(async {
            let queue = unique("amqprs");
            let connection = connect(broker).await;
            let channel = connection.open_channel(None).await.unwrap();
            exclusive_queue(&channel, &queue).await;
            channel
                .basic_qos(BasicQosArguments::new(0, 1, false))
                .await
                .unwrap();
            let requests = consume(&channel, &queue, false).await;
            let worker = tokio::spawn(answer_requests(channel, requests, CALLERS * CALLS));
            let callers = (0..CALLERS).map(|_| make_calls(broker, &queue, direct, CALLS));
            join_all(callers).await;
            worker.await.unwrap();
            connection.close().await.unwrap();
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
fn get_nack_reject_and_redelivery() {
    on_one_and_two_shards(|broker| {
        run(async {
            let connection = connect(broker).await;
            let channel = connection.open_channel(None).await.unwrap();
            let queue = exclusive_queue(&channel, "").await;
            let get = || channel.basic_get(BasicGetArguments::new(&queue));
            assert!(get().await.unwrap().is_none());
            publish(&channel, &queue, BasicProperties::default(), b"x").await;
            let (ok, _, body) = get().await.unwrap().expect("one message waits");
            assert_eq!((ok.redelivered(), &body[..]), (false, &b"x"[..]));
            let nack = BasicNackArguments::new(ok.delivery_tag(), false, true);
            channel.basic_nack(nack).await.unwrap();
            let (ok, _, _) = get().await.unwrap().expect("it came back");
            assert!(ok.redelivered());
            let reject = BasicRejectArguments::new(ok.delivery_tag(), false);
            channel.basic_reject(reject).await.unwrap();
            assert!(get().await.unwrap().is_none());
            connection.close().await.unwrap();
        });
    });
}

/// What the broker tells a channel's callback.
#[derive(Debug, PartialEq)]
enum Told {
    Acked(u64),
    Returned(u16, Vec<u8>),
    Cancelled(String),
    Closed(u16, String),
}

struct Listener(UnboundedSender<Told>);

impl Listener {
    fn tell(&self, told: Told) {
        self.0
            .send(told)
            .expect("the test listens until its channel is closed");
    }
}

type Outcome = Result<(), amqprs::error::Error>;

#[async_trait]
impl ChannelCallback for Listener {
    async fn close(&mut self, _: &Channel, close: CloseChannel) -> Outcome {
        self.tell(Told::Closed(
            close.reply_code(),
            close.reply_text().to_string(),
        ));
        Ok(())
    }
    async fn cancel(&mut self, _: &Channel, cancel: Cancel) -> Outcome {
        self.tell(Told::Cancelled(cancel.consumer_tag().to_string()));
        Ok(())
    }
    async fn flow(&mut self, _: &Channel, _: bool) -> Result<bool, amqprs::error::Error> {
        Ok(true)
    }
    async fn publish_ack(&mut self, _: &Channel, ack: Ack) {
        self.tell(Told::Acked(ack.delivery_tag()));
    }
    async fn publish_nack(&mut self, _: &Channel, nack: Nack) {
        panic!("the broker refused {}", nack.delivery_tag());
    }
    async fn publish_return(
        &mut self,
        _: &Channel,
        ret: Return,
        _: BasicProperties,
        body: Vec<u8>,
    ) {
        self.tell(Told::Returned(ret.reply_code(), body));
    }
}

#[test]
fn callbacks_hear_of_confirms_returns_cancels_and_closes() {
    on_one_and_two_shards(|broker| {
        run(async {
            let connection = connect(broker).await;
            let channel = connection.open_channel(None).await.unwrap();
            let (sender, mut told) = unbounded_channel();
            channel.register_callback(Listener(sender)).await.unwrap();
            channel
                .confirm_select(ConfirmSelectArguments::new(false))
                .await
                .unwrap();
            let queue = exclusive_queue(&channel, "").await;
            publish(&channel, &queue, BasicProperties::default(), b"x").await;
            assert_eq!(told.recv().await, Some(Told::Acked(1)));

            let mut mandatory = BasicPublishArguments::new("", "nowhere.at.all");
            mandatory.mandatory(true);
            let properties = BasicProperties::default();
            channel
                .basic_publish(properties, b"back".to_vec(), mandatory)
                .await
                .unwrap();
            assert_eq!(
                told.recv().await,
                Some(Told::Returned(312, b"back".to_vec()))
            );
            assert_eq!(told.recv().await, Some(Told::Acked(2)));

            let arguments = BasicConsumeArguments::new(&queue, "told");
            let _deliveries = channel.basic_consume_rx(arguments).await.unwrap();
            channel
                .queue_delete(QueueDeleteArguments::new(&queue))
                .await
                .unwrap();
            assert_eq!(told.recv().await, Some(Told::Cancelled("told".into())));

            let ack = BasicAckArguments::new(99, false);
            channel.basic_ack(ack).await.unwrap();
            let text = "PRECONDITION_FAILED - unknown delivery tag 99";
            assert_eq!(told.recv().await, Some(Told::Closed(406, text.into())));
            connection.close().await.unwrap();
        });
    });
}
