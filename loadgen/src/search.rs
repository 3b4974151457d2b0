//! Finds the highest rate at which something holds, by asking for one probe after another. Pure:
//! it neither calls nor waits, and knows of a probe only how it ended.
//!
//! First a bracket is sought from the first guess up or down, then halved (by factors), then the
//! answer is asked for again. A machine has bad moments: a rate that passes is believed until the
//! end, one that does not is asked again, up to three times.

/// How one probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Passed,
    Failed,
    /// The generator could not drive this rate: it says nothing of the server.
    Invalid,
}

#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub first_rate: f64,
    /// Done when the lowest rate that failed is at most this factor above the answer.
    pub precision: f64,
    /// How often the answer is run again.
    pub confirm_count: u32,
    pub probe_count_max: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Bracketing,
    Narrowing,
    Confirming,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Next {
    Probe { rate: f64, phase: Phase },
    Done(Answer),
}

#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Answer {
    /// `None`: not even the lowest rate passed.
    pub rate: Option<f64>,
    /// What is known to be too much.
    pub ceiling: Option<Ceiling>,
    /// Reruns at the answer that passed, of so many.
    pub confirmed_count: u32,
    pub confirm_count: u32,
    /// Too few of the reruns passed, or there were too many probes to make them all.
    pub is_confirmed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Ceiling {
    pub rate: f64,
    /// The generator gave up there, not the server: the answer is "at least".
    pub is_generator: bool,
}

/// Steps up and down while there is no bracket.
const GROWTH: f64 = 1.5;
const FALL: f64 = 2.0;

/// Below it nothing is worth asking.
const RATE_MIN: f64 = 1.0;

/// Invariant: `passed` rises, and lies below the ceiling.
#[derive(Debug)]
pub struct Search {
    settings: Settings,
    rate: f64,
    phase: Phase,
    /// Outcomes at `rate` in this phase.
    votes: Votes,
    passed: Vec<f64>,
    ceiling: Option<Ceiling>,
    probe_count: u32,
    answer: Option<Answer>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Votes {
    passed: u32,
    failed: u32,
    invalid: u32,
}

impl Votes {
    fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Invalid => self.invalid += 1,
        }
    }

    fn count(self) -> u32 {
        self.passed + self.failed + self.invalid
    }

    /// Passed at once, or two of three; three that all differ have failed.
    fn decided(self) -> Option<Outcome> {
        match self {
            Votes { passed: 2.., .. } => Some(Outcome::Passed),
            Votes { failed: 2.., .. } => Some(Outcome::Failed),
            Votes { invalid: 2.., .. } => Some(Outcome::Invalid),
            votes if votes.count() == 1 && votes.passed == 1 => Some(Outcome::Passed),
            votes if votes.count() >= 3 => Some(Outcome::Failed),
            _ => None,
        }
    }
}

impl Search {
    pub fn new(settings: Settings) -> Search {
        assert!(settings.precision > 1.0 && settings.first_rate > 0.0);
        Search {
            settings,
            rate: settings.first_rate.max(RATE_MIN),
            phase: Phase::Bracketing,
            votes: Votes::default(),
            passed: Vec::new(),
            ceiling: None,
            probe_count: 0,
            answer: None,
        }
    }

    pub fn next(&self) -> Next {
        match self.answer {
            Some(answer) => Next::Done(answer),
            None => Next::Probe {
                rate: self.rate,
                phase: self.phase,
            },
        }
    }

    /// The probe that `next` asked for ended like this.
    pub fn handle(&mut self, outcome: Outcome) {
        assert!(self.answer.is_none(), "the search is over");
        self.probe_count += 1;
        self.votes.add(outcome);
        match self.phase {
            Phase::Confirming => self.handle_confirmation(),
            Phase::Bracketing | Phase::Narrowing => {
                if let Some(decided) = self.votes.decided() {
                    self.settle(decided);
                }
            }
        }
        if self.answer.is_none() && self.probe_count >= self.settings.probe_count_max {
            self.finish(false);
        }
    }

    fn settle(&mut self, decided: Outcome) {
        match decided {
            Outcome::Passed => self.passed.push(self.rate),
            Outcome::Failed => self.set_ceiling(false),
            Outcome::Invalid => self.set_ceiling(true),
        }
        self.go_on();
    }

    /// Chooses the next rate, the highest that passed and the ceiling being known.
    fn go_on(&mut self) {
        self.votes = Votes::default();
        let low = self.passed.last().copied();
        (self.phase, self.rate) = match (low, self.ceiling) {
            (Some(low), Some(ceiling)) if ceiling.rate <= low * self.settings.precision => {
                (Phase::Confirming, low)
            }
            (Some(low), Some(ceiling)) => (Phase::Narrowing, (low * ceiling.rate).sqrt()),
            (Some(low), None) => (Phase::Bracketing, low * GROWTH),
            (None, _) => (Phase::Bracketing, self.rate / FALL),
        };
        if self.rate < RATE_MIN {
            self.finish(false);
        } else if self.phase == Phase::Confirming && self.settings.confirm_count == 0 {
            self.finish(true);
        }
    }

    fn handle_confirmation(&mut self) {
        let (count, votes) = (self.settings.confirm_count, self.votes);
        let needed = confirmations_needed(count);
        let refused = votes.failed + votes.invalid;
        if refused > count - needed {
            self.passed.pop();
            self.set_ceiling(votes.invalid > votes.failed);
            self.go_on();
        } else if votes.count() == count {
            self.finish(true);
        }
    }

    fn set_ceiling(&mut self, is_generator: bool) {
        self.ceiling = Some(Ceiling {
            rate: self.rate,
            is_generator,
        });
    }

    fn finish(&mut self, is_confirmed: bool) {
        let votes = if self.phase == Phase::Confirming {
            self.votes
        } else {
            Votes::default()
        };
        self.answer = Some(Answer {
            rate: self.passed.last().copied(),
            ceiling: self.ceiling,
            confirmed_count: votes.passed,
            confirm_count: votes.count(),
            is_confirmed,
        });
    }
}

/// Two of three, four of five: more than two thirds, or all of one.
fn confirmations_needed(count: u32) -> u32 {
    (count * 2).div_ceil(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server with one queue and random arrivals (M/M/1): p99 = ln 100 / (capacity - rate).
    struct Server {
        capacity: f64,
        p99_max_s: f64,
        generator_max: f64,
        /// Of a hundred probes, so many go wrong for reasons of the machine.
        bad_percent: u64,
        random: u64,
        probes: Vec<(f64, Phase, Outcome)>,
    }

    impl Server {
        fn new() -> Server {
            Server {
                capacity: 50_000.0,
                p99_max_s: 0.001,
                generator_max: f64::INFINITY,
                bad_percent: 0,
                random: 1,
                probes: Vec::new(),
            }
        }

        fn truth(&self) -> f64 {
            self.capacity - 100_f64.ln() / self.p99_max_s
        }

        fn outcome(&mut self, rate: f64) -> Outcome {
            self.random = self
                .random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(99);
            let is_bad = (self.random >> 33) % 100 < self.bad_percent;
            if rate > self.generator_max {
                Outcome::Invalid
            } else if is_bad || rate > self.truth() {
                Outcome::Failed
            } else {
                Outcome::Passed
            }
        }

        fn search(&mut self, first_rate: f64) -> Answer {
            let mut search = Search::new(Settings {
                first_rate,
                precision: 1.05,
                confirm_count: 3,
                probe_count_max: 80,
            });
            loop {
                match search.next() {
                    Next::Done(answer) => return answer,
                    Next::Probe { rate, phase } => {
                        let outcome = self.outcome(rate);
                        self.probes.push((rate, phase, outcome));
                        search.handle(outcome);
                    }
                }
            }
        }
    }

    #[test]
    fn the_highest_rate_is_found_from_far_below_and_far_above() {
        for first_rate in [10.0, 3_000.0, 45_000.0, 5e6] {
            let mut server = Server::new();
            let answer = server.search(first_rate);
            let rate = answer.rate.unwrap();
            let truth = server.truth();
            assert!(
                rate <= truth && rate * 1.05 >= truth,
                "{first_rate}: {rate}"
            );
            assert!(answer.is_confirmed && answer.confirmed_count == 3);
            let ceiling = answer.ceiling.unwrap();
            assert!(!ceiling.is_generator && ceiling.rate > truth);
            assert!(server.probes.len() < 50, "{}", server.probes.len());
        }
    }

    #[test]
    fn nothing_is_named_beyond_what_the_generator_can_drive() {
        let mut server = Server::new();
        server.generator_max = 20_000.0;
        let answer = server.search(5_000.0);
        let rate = answer.rate.unwrap();
        assert!((19_000.0..=20_000.0).contains(&rate), "{rate}");
        assert!(answer.ceiling.unwrap().is_generator && answer.is_confirmed);
    }

    #[test]
    fn a_machine_with_bad_moments_does_not_lead_far_astray() {
        for seed in 0..50 {
            let mut server = Server::new();
            server.bad_percent = 10;
            server.random = seed;
            let answer = server.search(20_000.0);
            let rate = answer.rate.unwrap();
            assert!(rate <= server.truth(), "{seed}: {rate}");
            assert!(rate >= server.truth() * 0.55, "{seed}: {rate}");
        }
    }

    #[test]
    fn where_no_rate_passes_there_is_no_answer() {
        let mut server = Server::new();
        server.p99_max_s = 1e-9;
        let answer = server.search(10_000.0);
        assert_eq!((answer.rate, answer.is_confirmed), (None, false));
    }

    #[test]
    fn an_answer_that_does_not_hold_is_lowered() {
        let mut search = Search::new(Settings {
            first_rate: 100.0,
            precision: 2.0,
            confirm_count: 3,
            probe_count_max: 100,
        });
        // 100 and 150 pass, 225 does not, and at the rerun 150 does not either.
        for outcome in ["p", "p", "ff", "ff"].join("").chars() {
            search.handle(if outcome == 'p' {
                Outcome::Passed
            } else {
                Outcome::Failed
            });
        }
        let rate = 100.0;
        let phase = Phase::Confirming;
        assert_eq!(search.next(), Next::Probe { rate, phase });
        for _ in 0..3 {
            search.handle(Outcome::Passed);
        }
        let Next::Done(answer) = search.next() else {
            panic!()
        };
        assert_eq!(answer.rate, Some(100.0));
        assert_eq!(answer.ceiling.unwrap().rate, 150.0);
    }

    #[test]
    fn every_search_ends() {
        for seed in 0..100 {
            let mut server = Server::new();
            server.bad_percent = 50;
            server.random = seed;
            server.search(1_000.0);
            assert!(server.probes.len() <= 80);
        }
    }
}
