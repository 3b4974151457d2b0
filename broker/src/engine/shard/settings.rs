//! What may differ from one deployment to the next; everything else is in `limits`.

use crate::engine::rules::Policy;
use crate::limits::Limits;

#[derive(Clone, Debug)]
pub struct Settings {
    pub users: Vec<User>,
    /// Names of the virtual hosts, at least one, at most [`VHOST_COUNT_MAX`], each once.
    ///
    /// [`VHOST_COUNT_MAX`]: crate::limits::VHOST_COUNT_MAX
    pub vhosts: Vec<String>,
    /// Those that are there from the start, each with the virtual host that it belongs to.
    pub policies: Vec<(String, Policy)>,
    /// Proposed to clients, seconds; 0 switches heartbeats off.
    pub heartbeat_s: u16,
    pub frame_len_max: u32,
    pub channel_max: u16,
    /// Of the whole process; each shard takes its part.
    pub connection_count_max: usize,
    pub body_len_max: u64,
    /// Octets of messages that wait in queues, of the whole process; each shard takes its part.
    pub queued_len_max: usize,
    /// Of the calls that nobody asked to follow, so many are followed by each shard to measure
    /// them; 0: none.
    pub calls_measured_per_second: u32,
    /// Seconds since 1970 when time was [`Timestamp`] zero.
    ///
    /// [`Timestamp`]: crate::engine::time::Timestamp
    pub started_at_s: u64,
    /// [`Limits::SHIPPED`] in every deployment; asserted to be sound.
    pub limits: Limits,
    /// Drawn once per process from the operating system, equal on all shards: keys the names
    /// that must not be guessed.
    pub secret: [u8; 16],
}

#[derive(Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub password: String,
    /// Refused from any address that is not a loopback one.
    pub loopback_only: bool,
}

/// Names the user, never the password: settings may be logged.
impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
