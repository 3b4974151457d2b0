//! Field tables (AMQP 0-9-1 4.2.5.5, with RabbitMQ's type letters), checked without recursion
//! on the machine stack and without allocation.

use super::cursor::Malformed;

/// Checks the inside of one field table (the octets after its length): every key, type and
/// length, and that nesting stays within `depth_max` (a table of plain values has depth 1).
pub fn check_table(_inside: &[u8], _depth_max: u32) -> Result<(), Malformed> {
    todo!()
}
