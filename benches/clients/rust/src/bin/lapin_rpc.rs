//! RPC by lapin: many calls at once over one connection, each a future by its correlation id.
//!
//!     lapin_rpc worker --in-flight 16 &
//!     lapin_rpc requester --in-flight 16

use clap::Parser;
use clients::{Arguments, Call, DIRECT_REPLY_TO, Failure, Role, Waiting};
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use std::process::ExitCode;
use std::sync::Arc;
use uuid::Uuid;

/// Makes calls. Direct reply-to: the replies come to the channel that asks.
struct Client {
    channel: Channel,
    queue: String,
    waiting: Arc<Waiting>,
}

impl Client {
    async fn new(connection: &Connection, queue: &str) -> Result<Client, Failure> {
        let channel = connection.create_channel().await?;
        let options = BasicConsumeOptions {
            no_ack: true,
            ..Default::default()
        };
        let (address, tag) = (DIRECT_REPLY_TO.into(), "".into());
        let mut replies = channel
            .basic_consume(address, tag, options, FieldTable::default())
            .await?;
        let waiting = Arc::new(Waiting::default());
        let settled = Arc::clone(&waiting);
        tokio::spawn(async move {
            while let Some(Ok(reply)) = replies.next().await {
                if let Some(id) = reply.properties.correlation_id() {
                    settled.settle(id.as_str(), reply.data);
                }
            }
        });
        let queue = queue.to_owned();
        Ok(Client {
            channel,
            queue,
            waiting,
        })
    }
}

impl Call for Client {
    async fn call(&self, body: Vec<u8>) -> Result<Vec<u8>, Failure> {
        let id = Uuid::new_v4().to_string();
        let properties = BasicProperties::default()
            .with_reply_to(DIRECT_REPLY_TO.into())
            .with_correlation_id(id.as_str().into());
        let reply = self.waiting.insert(id);
        let (exchange, routing_key) = ("".into(), self.queue.as_str().into());
        let options = BasicPublishOptions::default();
        self.channel
            .basic_publish(exchange, routing_key, options, &body, properties)
            .await?;
        Ok(reply.await?)
    }

    fn waiting(&self) -> &Waiting {
        &self.waiting
    }
}

async fn answer(channel: &Channel, request: Delivery) -> Result<(), Failure> {
    let (Some(address), Some(id)) = (
        request.properties.reply_to().clone(),
        request.properties.correlation_id().clone(),
    ) else {
        return Err("a request without an address or a correlation id".into());
    };
    let properties = BasicProperties::default().with_correlation_id(id);
    let body = request.data.to_ascii_uppercase();
    let options = BasicPublishOptions::default();
    channel
        .basic_publish("".into(), address, options, &body, properties)
        .await?;
    request.ack(BasicAckOptions::default()).await?;
    Ok(())
}

async fn work(connection: &Connection, arguments: &Arguments) -> Result<(), Failure> {
    let channel = connection.create_channel().await?;
    let queue = || arguments.queue.as_str().into();
    let options = QueueDeclareOptions {
        auto_delete: true,
        ..Default::default()
    };
    channel
        .queue_declare(queue(), options, FieldTable::default())
        .await?;
    channel
        .basic_qos(arguments.in_flight, BasicQosOptions::default())
        .await?;
    let options = BasicConsumeOptions::default();
    let mut requests = channel
        .basic_consume(queue(), "".into(), options, FieldTable::default())
        .await?;
    tokio::spawn(async move {
        while let Some(Ok(request)) = requests.next().await {
            if let Err(error) = answer(&channel, request).await {
                eprintln!("a request was not answered: {error}");
            }
        }
    });
    clients::until_sigterm().await
}

#[tokio::main]
async fn main() -> Result<ExitCode, Failure> {
    let arguments = Arguments::parse();
    let connection = Connection::connect(&arguments.url, ConnectionProperties::default()).await?;
    let code = match arguments.role {
        Role::Requester => {
            let client = Arc::new(Client::new(&connection, &arguments.queue).await?);
            clients::request(client, &arguments).await?
        }
        Role::Worker => {
            work(&connection, &arguments).await?;
            ExitCode::SUCCESS
        }
    };
    connection.close(200, "done".into()).await?;
    Ok(code)
}
