//! `loadgen rpc`: calls through a server that runs already.

use super::run_subjects;
use super::subject::{Calls, Subject};
use crate::arguments::RpcArguments;

pub fn execute(arguments: &RpcArguments) -> Result<u8, String> {
    let calls = Calls {
        amqp: &arguments.amqp,
        load: &arguments.load,
    };
    let server = Subject::new(&arguments.url, arguments.server_pid, calls)?;
    let subjects = server.with_others(&arguments.rounds, calls)?;
    run_subjects(&subjects, arguments.rounds.count(), &arguments.output)
}
