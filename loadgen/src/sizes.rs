//! How long each call's bodies are. Whoever knows a call's id knows it, requester and worker
//! alike, so no length has to be kept or sent, and every octet can be checked.

use crate::body::BODY_LEN_MIN;
use crate::call::CallId;
use crate::distribution::Distribution;

/// Octets of a body: what brokers accept by default, and the audit keeps in memory.
pub const BODY_LEN_MAX: usize = 128 << 20;

/// Invariant: no length but an exponential one is drawn outside `BODY_LEN_MIN..=BODY_LEN_MAX`.
#[derive(Clone, Debug)]
pub struct Sizes {
    request: Distribution,
    /// `None`: a reply has its request's body.
    reply: Option<Distribution>,
    seed: u64,
}

impl Sizes {
    pub fn new(request: Distribution, reply: Option<Distribution>, seed: u64) -> Sizes {
        Sizes {
            request,
            reply,
            seed,
        }
    }

    #[cfg(test)]
    pub fn fixed(len: usize) -> Sizes {
        Sizes::new(Distribution::Fixed(len as u64), None, 0)
    }

    pub fn request_len(&self, call: CallId) -> usize {
        match self.request {
            Distribution::Fixed(len) => len as usize,
            ref lens => clamp(lens.value(self.draw(call, 0))),
        }
    }

    pub fn reply_len(&self, call: CallId) -> usize {
        match &self.reply {
            None => self.request_len(call),
            Some(lens) => clamp(lens.value(self.draw(call, 1))),
        }
    }

    /// A reply is made anew, not the request sent back.
    pub fn has_own_replies(&self) -> bool {
        self.reply.is_some()
    }

    pub fn request(&self) -> &Distribution {
        &self.request
    }

    pub fn reply(&self) -> Option<&Distribution> {
        self.reply.as_ref()
    }

    /// The longest body of all.
    pub fn len_max(&self) -> usize {
        let reply_len = self.reply.as_ref().map_or(0, Distribution::max);
        clamp(self.request.max().max(reply_len))
    }

    /// Random bits that belong to the call. The run is left out: with the same seed, the next
    /// one's calls are as long.
    fn draw(&self, call: CallId, which: u64) -> u64 {
        let place = mix(self.seed ^ u64::from(call.requester) << 1 ^ which);
        mix(place ^ call.sequence)
    }
}

fn clamp(len: u64) -> usize {
    (len as usize).clamp(BODY_LEN_MIN, BODY_LEN_MAX)
}

/// splitmix64's step: every bit of the outcome hangs on every bit of `value`.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(requester: u32, sequence: u64) -> CallId {
        CallId {
            run: 7,
            requester,
            sequence,
        }
    }

    fn uniform(seed: u64, reply: Option<Distribution>) -> Sizes {
        Sizes::new(Distribution::Uniform { from: 64, to: 4096 }, reply, seed)
    }

    #[test]
    fn both_sides_find_the_same_length_and_the_next_run_too() {
        let (sizes, again) = (uniform(1, None), uniform(1, None));
        for sequence in 0..100 {
            let ours = call(3, sequence);
            let theirs = CallId { run: 8, ..ours };
            assert_eq!(sizes.request_len(ours), again.request_len(theirs));
            assert_eq!(sizes.reply_len(ours), sizes.request_len(ours));
        }
    }

    #[test]
    fn lengths_are_spread_over_requesters_calls_and_seeds() {
        let mean = |sizes: &Sizes| {
            let calls = (0..100).flat_map(|requester| (0..100).map(move |call| (requester, call)));
            let lens =
                calls.map(|(requester, sequence)| sizes.request_len(call(requester, sequence)));
            lens.sum::<usize>() as f64 / 10_000.0
        };
        for seed in 1..4 {
            let mean = mean(&uniform(seed, None));
            assert!((mean / 2080.0 - 1.0).abs() < 0.03, "{mean}");
        }
    }

    #[test]
    fn replies_have_lengths_of_their_own_if_asked_for() {
        let sizes = uniform(1, Some(Distribution::Exponential { mean: 100 }));
        let lens: Vec<usize> = (0..1000).map(|id| sizes.reply_len(call(0, id))).collect();
        assert!(lens.contains(&BODY_LEN_MIN) && sizes.has_own_replies());
        assert!(
            lens.iter()
                .all(|len| (BODY_LEN_MIN..=sizes.len_max()).contains(len))
        );
    }
}
