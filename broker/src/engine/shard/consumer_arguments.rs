//! The arguments of basic.consume: `x-priority`; what else RabbitMQ knows is for other queues than
//! ours, and what it does not know it ignores.

use crate::engine::rules::{integer, type_name};
use crate::engine::violation::Violation;
use crate::engine::wire::reply_code::ReplyCode;
use amq_protocol::types::FieldTable;

/// The priority of a consumer of `queue`, "queue 'q' in vhost '/'". Errors: 406, in RabbitMQ's
/// words.
pub(super) fn priority(arguments: &FieldTable, queue: &str) -> Result<i64, Violation> {
    let refused = |key, rest: &str| {
        let text = format!("invalid arg '{key}' for {queue}{rest}");
        Err(Violation::channel(ReplyCode::PreconditionFailed, text))
    };
    if arguments.inner().contains_key("x-stream-offset") {
        return refused("x-stream-offset", " of queue type rabbit_classic_queue");
    }
    let Some(value) = arguments.inner().get("x-priority") else {
        return Ok(0);
    };
    integer(value).map_or_else(
        || {
            let found = type_name(value);
            refused(
                "x-priority",
                &format!(": \"expected integer, got {found}\""),
            )
        },
        Ok,
    )
}
