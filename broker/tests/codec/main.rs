//! Our codec against `amq-protocol`'s, both ways, on generated values.

mod cold;
mod content;
mod hot;
mod splitter;
mod tables;
mod values;
