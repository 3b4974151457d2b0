//! The last events of a life, for people. Nothing is written unless somebody wants to read it.

use std::collections::VecDeque;
use std::fmt::Arguments;

pub struct Trace {
    /// How many lines are kept; 0 is none.
    len_max: usize,
    lines: VecDeque<String>,
}

impl Trace {
    pub fn new(len_max: usize) -> Trace {
        Trace {
            len_max,
            lines: VecDeque::new(),
        }
    }

    pub fn is_on(&self) -> bool {
        self.len_max > 0
    }

    pub fn note(&mut self, line: Arguments<'_>) {
        if self.len_max == 0 {
            return;
        }
        if self.lines.len() == self.len_max {
            self.lines.pop_front();
        }
        self.lines.push_back(line.to_string());
    }

    pub fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}
