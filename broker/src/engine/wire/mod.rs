//! AMQP 0-9-1 on the wire, both directions, for the broker and for `loadgen`.
//!
//! Split first, decode inside the slice: only [`frame::split_frame`] can say "more bytes are
//! needed"; in every other decoder the end of the slice is a syntax error. Decoders borrow and
//! never allocate; encoders append to a `Vec<u8>` and cannot fail.

pub mod arguments;
pub mod basic;
pub mod cursor;
pub mod frame;
pub mod method;
pub mod properties;
pub mod reply_code;
