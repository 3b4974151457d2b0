//! Whether the generator itself was fit to measure: a figure is only as good as the clock and the
//! pace behind it. Pure: evidence goes in, a verdict comes out.
//!
//! In an open loop a call that fell due while there was room and went out late was late by the
//! generator's fault; one that found no room waited for the server, unless the generator had no
//! time to see the replies. In a closed loop a full generator thread is only natural: it bounds
//! the rate, unless a thread of the server is full as well.

use std::fmt::{self, Display, Formatter};

/// A thread this busy has nothing left: it was on the processor, or waited for one.
const SATURATED: f64 = 0.95;

/// A server's thread this busy is what the rate may as well hang on.
const SERVER_FULL: f64 = 0.9;

/// Lateness up to this is within what waking a thread costs.
const LAG_NS_FINE: u64 = 100_000;

/// Lateness may be this share of the latency that it is part of.
const LAG_SHARE_MAX: f64 = 0.25;

/// A rate may be missed by this much.
const SHORTFALL_MAX: f64 = 0.01;

/// What is known of the generator's own part in a run.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    pub pace: Option<PaceEvidence>,
    /// Of the busiest thread: the share of its time on a processor, or waiting for one. Looking in
    /// vain whether something has fallen due does not count.
    pub busiest_thread: Option<f64>,
    /// The same of the server's threads, if its process is known.
    pub server_busiest_thread: Option<f64>,
}

/// In an open loop.
#[derive(Clone, Copy, Debug, Default)]
pub struct PaceEvidence {
    pub asked_per_s: f64,
    pub achieved_per_s: f64,
    pub call_count: u64,
    /// Calls that fell due while there was no room in flight: the server's doing.
    pub held_back_count: u64,
    /// Of those, calls that found none until the end.
    pub unsent_count: u64,
    pub lag_p99_ns: u64,
    pub latency_p99_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The figures are the server's.
    Sound,
    /// Closed loop: the generator had nothing left, so the rate is the least that the server can
    /// do; latencies include the generator's own queue.
    GeneratorBound,
    /// Open loop: calls went out late or not at all for want of the generator.
    NotValid,
}

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Health {
    pub verdict: Verdict,
    pub is_valid: bool,
    pub reasons: Vec<String>,
    pub busiest_thread: Option<f64>,
    #[serde(default)]
    pub server_busiest_thread: Option<f64>,
    /// Calls that fell due while there was no room in flight.
    #[serde(default)]
    pub held_back: u64,
}

impl Health {
    pub fn judge(evidence: &Evidence) -> Health {
        let mut reasons = Vec::new();
        let verdict = match &evidence.pace {
            Some(pace) => judge_open_loop(pace, evidence, &mut reasons),
            None => judge_closed_loop(evidence, &mut reasons),
        };
        Health {
            verdict,
            is_valid: verdict != Verdict::NotValid,
            reasons,
            busiest_thread: evidence.busiest_thread,
            server_busiest_thread: evidence.server_busiest_thread,
            held_back: evidence.pace.map_or(0, |pace| pace.held_back_count),
        }
    }
}

fn judge_open_loop(pace: &PaceEvidence, evidence: &Evidence, reasons: &mut Vec<String>) -> Verdict {
    find_lateness(pace, reasons);
    find_shortfall(pace, evidence, reasons);
    if !reasons.is_empty() {
        return Verdict::NotValid;
    }
    if pace.unsent_count > 0 {
        let who = match evidence.saturation() {
            Some(_) => "the server and the generator can do side by side",
            None => "the server and its workers can do",
        };
        reasons.push(format!(
            "{} calls were due and never sent, more than {who}",
            pace.unsent_count
        ));
    }
    Verdict::Sound
}

fn judge_closed_loop(evidence: &Evidence, reasons: &mut Vec<String>) -> Verdict {
    let Some(share) = evidence.saturation() else {
        return Verdict::Sound;
    };
    let percent = share * 100.0;
    if evidence.is_server_full() {
        reasons.push(format!(
            "a generator thread was busy {percent:.0} %, one of the server's as well: the rate is \
             that of both"
        ));
        return Verdict::Sound;
    }
    reasons.push(format!("a generator thread was busy {percent:.0} %"));
    Verdict::GeneratorBound
}

impl Evidence {
    /// How busy the busiest thread was, if that is too busy.
    fn saturation(&self) -> Option<f64> {
        self.busiest_thread.filter(|share| *share >= SATURATED)
    }

    fn is_server_full(&self) -> bool {
        self.server_busiest_thread
            .is_some_and(|share| share >= SERVER_FULL)
    }
}

fn find_lateness(pace: &PaceEvidence, reasons: &mut Vec<String>) {
    let allowed_ns = (pace.latency_p99_ns as f64 * LAG_SHARE_MAX) as u64;
    if pace.lag_p99_ns > LAG_NS_FINE.max(allowed_ns) {
        reasons.push(format!(
            "1 % of the calls went out {} µs late or later, with room for them",
            pace.lag_p99_ns / 1000
        ));
    }
}

fn find_shortfall(pace: &PaceEvidence, evidence: &Evidence, reasons: &mut Vec<String>) {
    // The count of random arrivals scatters by its root.
    let scatter = 3.0 / (pace.call_count.max(1) as f64).sqrt();
    let least = pace.asked_per_s * (1.0 - SHORTFALL_MAX.max(scatter));
    if pace.achieved_per_s >= least {
        return;
    }
    let excuse = match evidence.saturation() {
        _ if pace.held_back_count == 0 => "the server held none back".to_owned(),
        Some(share) if !evidence.is_server_full() => format!(
            "a generator thread was busy {:.0} % while calls waited for room",
            share * 100.0
        ),
        _ => return,
    };
    reasons.push(format!(
        "{:.0} calls/s were asked for, {:.0} were made, and {excuse}",
        pace.asked_per_s, pace.achieved_per_s
    ));
}

impl Display for Health {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Sound if self.reasons.is_empty() => "sound: the generator had time to spare",
            Verdict::Sound => "sound",
            Verdict::GeneratorBound => {
                "the generator was the bottleneck: the server can do at least this"
            }
            Verdict::NotValid => "generator was the bottleneck: not valid",
        };
        f.write_str(verdict)?;
        for reason in &self.reasons {
            write!(f, "; {reason}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: PaceEvidence = PaceEvidence {
        asked_per_s: 10_000.0,
        achieved_per_s: 9_990.0,
        call_count: 100_000,
        held_back_count: 0,
        unsent_count: 0,
        lag_p99_ns: 20_000,
        latency_p99_ns: 200_000,
    };

    fn verdict(pace: PaceEvidence) -> Verdict {
        let evidence = Evidence {
            pace: Some(pace),
            busiest_thread: Some(0.5),
            server_busiest_thread: None,
        };
        Health::judge(&evidence).verdict
    }

    #[test]
    fn a_generator_that_keeps_pace_is_sound() {
        assert_eq!(verdict(PACE), Verdict::Sound);
    }

    #[test]
    fn late_calls_spoil_an_open_loop_unless_they_are_a_small_part_of_the_latency() {
        let lag_p99_ns = 400_000;
        assert_eq!(
            verdict(PaceEvidence { lag_p99_ns, ..PACE }),
            Verdict::NotValid
        );
        let slow = PaceEvidence {
            latency_p99_ns: 40_000_000,
            lag_p99_ns,
            ..PACE
        };
        assert_eq!(verdict(slow), Verdict::Sound);
    }

    #[test]
    fn a_rate_missed_is_the_generators_fault_only_if_the_server_held_nothing_back() {
        let slow = PaceEvidence {
            achieved_per_s: 9_000.0,
            ..PACE
        };
        assert_eq!(verdict(slow), Verdict::NotValid);
        let held_back_count = 5;
        assert_eq!(
            verdict(PaceEvidence {
                held_back_count,
                ..slow
            }),
            Verdict::Sound
        );
        // Of a hundred random arrivals, ninety is nothing strange.
        assert_eq!(
            verdict(PaceEvidence {
                call_count: 90,
                ..slow
            }),
            Verdict::Sound
        );
    }

    #[test]
    fn a_closed_loop_with_a_busy_generator_gives_a_lower_bound() {
        let judge = |share| {
            Health::judge(&Evidence {
                pace: None,
                busiest_thread: Some(share),
                server_busiest_thread: None,
            })
        };
        assert_eq!(judge(0.5).verdict, Verdict::Sound);
        let bound = judge(0.99);
        assert_eq!(bound.verdict, Verdict::GeneratorBound);
        assert!(bound.is_valid && bound.to_string().contains("busy 99 %"));
    }

    #[test]
    fn a_full_server_beside_a_full_generator_shares_the_blame() {
        let judge = |server_share| {
            Health::judge(&Evidence {
                pace: None,
                busiest_thread: Some(0.99),
                server_busiest_thread: Some(server_share),
            })
        };
        assert_eq!(judge(0.5).verdict, Verdict::GeneratorBound);
        let both = judge(0.97);
        assert_eq!(both.verdict, Verdict::Sound);
        assert!(both.to_string().contains("that of both"), "{both}");
    }

    #[test]
    fn calls_that_found_no_room_are_the_generators_fault_if_it_had_no_time_for_replies() {
        let behind = PaceEvidence {
            achieved_per_s: 5_000.0,
            held_back_count: 1_000,
            unsent_count: 900,
            ..PACE
        };
        let judge = |own_share, server_share| {
            Health::judge(&Evidence {
                pace: Some(behind),
                busiest_thread: Some(own_share),
                server_busiest_thread: server_share,
            })
        };
        assert_eq!(judge(0.99, None).verdict, Verdict::NotValid);
        assert_eq!(judge(0.99, Some(0.3)).verdict, Verdict::NotValid);
        assert_eq!(judge(0.99, Some(0.99)).verdict, Verdict::Sound);
        let overloaded = judge(0.5, Some(0.5));
        assert_eq!(overloaded.verdict, Verdict::Sound);
        assert!(overloaded.to_string().contains("900 calls were due"));
    }
}
