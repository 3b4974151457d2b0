//! The arguments of basic.consume: `x-priority`; what else RabbitMQ knows is for other queues than
//! ours, and what it does not know it ignores.

use crate::engine::rules::{integer, type_name};
use crate::engine::violation::Violation;
use crate::engine::wire::reply_code::ReplyCode;
use amq_protocol::types::FieldTable;

/// The priority of a consumer of `queue`, "queue 'q' in vhost '/'"; what is beyond 32 bits counts
/// as the highest, or lowest, of them. Errors: 406, in RabbitMQ's words.
pub(super) fn priority(arguments: &FieldTable, queue: &str) -> Result<i32, Violation> {
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
    let Some(priority) = integer(value) else {
        let found = type_name(value);
        let rest = format!(": \"expected integer, got {found}\"");
        return refused("x-priority", &rest);
    };
    let clamped = priority.clamp(i32::MIN.into(), i32::MAX.into());
    Ok(i32::try_from(clamped).expect("clamped"))
}
