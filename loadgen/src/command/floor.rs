//! `loadgen floor`: the load through a relay of our own, in a process of its own, so that its
//! processor time is told apart from ours.

use super::run_subjects;
use super::subject::{Calls, Subject};
use crate::arguments::{AmqpArguments, FloorArguments};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

pub fn execute(arguments: &FloorArguments) -> Result<u8, String> {
    let calls = Calls {
        amqp: &AmqpArguments::default(),
        load: &arguments.load,
    };
    let floor = Subject::floor(&arguments.load)?;
    let subjects = floor.with_others(&arguments.rounds, calls)?;
    run_subjects(&subjects, arguments.rounds.count(), &arguments.output)
}

/// `loadgen relay` on a free port, ended when this value goes.
pub struct RelayProcess {
    child: Child,
    pub address: String,
}

impl RelayProcess {
    /// Errors: one sentence for the user.
    pub fn start() -> Result<RelayProcess, String> {
        let program = std::env::current_exe().map_err(|error| format!("own program: {error}"))?;
        let mut child = Command::new(program)
            .args(["relay", "--listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start the relay: {error}"))?;
        let stderr = child.stderr.take().expect("the child was given a pipe");
        let mut line = String::new();
        let read = BufReader::new(stderr).read_line(&mut line);
        let address = line.trim().strip_prefix("listening on ").map(str::to_owned);
        // Ends the child if it said anything else.
        let mut relay = RelayProcess {
            child,
            address: String::new(),
        };
        match (read, address) {
            (Ok(_), Some(address)) => {
                relay.address = address;
                Ok(relay)
            }
            _ => Err(format!("the relay did not start: {}", line.trim())),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        // It may have ended by itself, at an interrupt that both of us got.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
