//! The engine as its peers see it: octets in, frames out, over one to three shards in memory.

mod census;
mod client;
mod confirms;
mod consumers;
mod deliveries;
mod errors;
mod exchanges;
mod handshake;
mod heard;
mod held_replies;
mod leftovers;
mod methods;
mod pressure;
mod queues;
mod races;
mod reply_to;
mod scenario;
mod settlements;
mod small_limits;
mod time;
mod world;
