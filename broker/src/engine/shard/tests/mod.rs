//! The engine as its peers see it: octets in, frames out, over one to three shards in memory.

mod census;
mod client;
mod confirms;
mod consumers;
mod dead_letters;
mod deliveries;
mod errors;
mod exchanges;
mod handshake;
mod heard;
mod held_replies;
mod leftovers;
mod lifetimes;
mod methods;
mod overflow;
mod pressure;
mod priorities;
mod queue_arguments;
mod queues;
mod races;
mod reply_to;
mod scenario;
mod settlements;
mod small_limits;
mod time;
mod world;
