//! The engine as its peers see it: octets in, frames out, over one to three shards in memory.

mod audit;
mod chaos;
mod client;
mod confirms;
mod deliveries;
mod errors;
mod exchanges;
mod handshake;
mod heard;
mod held_replies;
mod leftovers;
mod pressure;
mod queues;
mod races;
mod reply_to;
mod time;
mod world;
