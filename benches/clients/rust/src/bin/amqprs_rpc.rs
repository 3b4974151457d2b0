//! RPC by amqprs: many calls at once over one connection, each a future by its correlation id.
//!
//!     amqprs_rpc worker --in-flight 16 &
//!     amqprs_rpc requester --in-flight 16

use amqprs::BasicProperties;
use amqprs::callbacks::{DefaultChannelCallback, DefaultConnectionCallback};
use amqprs::channel::{
    BasicAckArguments, BasicConsumeArguments, BasicPublishArguments, BasicQosArguments, Channel,
    ConsumerMessage, QueueDeclareArguments,
};
use amqprs::connection::{Connection, OpenConnectionArguments};
use clap::Parser;
use clients::{Arguments, Call, DIRECT_REPLY_TO, Failure, Role, Waiting};
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
    async fn new(channel: Channel, queue: &str) -> Result<Client, Failure> {
        let mut arguments = BasicConsumeArguments::new(DIRECT_REPLY_TO, "");
        arguments.manual_ack(false);
        let (_, mut replies) = channel.basic_consume_rx(arguments).await?;
        let waiting = Arc::new(Waiting::default());
        let settled = Arc::clone(&waiting);
        tokio::spawn(async move {
            while let Some(reply) = replies.recv().await {
                let id = reply.basic_properties.as_ref();
                let id = id.and_then(|properties| properties.correlation_id());
                if let (Some(id), Some(body)) = (id, reply.content) {
                    settled.settle(id, body);
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
        let mut properties = BasicProperties::default();
        properties
            .with_correlation_id(&id)
            .with_reply_to(DIRECT_REPLY_TO);
        let reply = self.waiting.insert(id);
        let arguments = BasicPublishArguments::new("", &self.queue);
        self.channel
            .basic_publish(properties, body, arguments)
            .await?;
        Ok(reply.await?)
    }

    fn waiting(&self) -> &Waiting {
        &self.waiting
    }
}

async fn answer(channel: &Channel, request: ConsumerMessage) -> Result<(), Failure> {
    let (Some(deliver), Some(asked), Some(body)) =
        (request.deliver, request.basic_properties, request.content)
    else {
        return Err("a delivery without a method, properties or a body".into());
    };
    let (Some(address), Some(id)) = (asked.reply_to(), asked.correlation_id()) else {
        return Err("a request without an address or a correlation id".into());
    };
    let mut properties = BasicProperties::default();
    properties.with_correlation_id(id);
    let arguments = BasicPublishArguments::new("", address);
    channel
        .basic_publish(properties, body.to_ascii_uppercase(), arguments)
        .await?;
    let arguments = BasicAckArguments::new(deliver.delivery_tag(), false);
    channel.basic_ack(arguments).await?;
    Ok(())
}

async fn work(channel: Channel, arguments: &Arguments) -> Result<(), Failure> {
    let mut declare = QueueDeclareArguments::new(&arguments.queue);
    declare.auto_delete(true);
    channel.queue_declare(declare).await?;
    let credit = BasicQosArguments::new(0, arguments.in_flight, false);
    channel.basic_qos(credit).await?;
    let consume = BasicConsumeArguments::new(&arguments.queue, "");
    let (_, mut requests) = channel.basic_consume_rx(consume).await?;
    tokio::spawn(async move {
        while let Some(request) = requests.recv().await {
            if let Err(error) = answer(&channel, request).await {
                eprintln!("a request was not answered: {error}");
            }
        }
    });
    clients::until_sigterm().await
}

/// amqprs reads URLs only with a feature that is off by default: host and port are enough here.
fn open_arguments(url: &str) -> Result<OpenConnectionArguments, Failure> {
    let address = url.rsplit('@').next().unwrap_or(url);
    let address = address.split('/').next().unwrap_or(address);
    let (host, port) = address.split_once(':').ok_or("a URL without a port")?;
    let port = port.parse()?;
    Ok(OpenConnectionArguments::new(host, port, "guest", "guest"))
}

#[tokio::main]
async fn main() -> Result<ExitCode, Failure> {
    let arguments = Arguments::parse();
    let connection = Connection::open(&open_arguments(&arguments.url)?).await?;
    connection
        .register_callback(DefaultConnectionCallback)
        .await?;
    let channel = connection.open_channel(None).await?;
    channel.register_callback(DefaultChannelCallback).await?;
    let code = match arguments.role {
        Role::Requester => {
            let client = Client::new(channel.clone(), &arguments.queue).await?;
            let client = Arc::new(client);
            clients::request(client, &arguments).await?
        }
        Role::Worker => {
            work(channel.clone(), &arguments).await?;
            ExitCode::SUCCESS
        }
    };
    channel.close().await?;
    connection.close().await?;
    Ok(code)
}
