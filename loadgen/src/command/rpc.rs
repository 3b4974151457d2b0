//! `loadgen rpc`: calls through a server that runs already.

use super::run_once;
use crate::arguments::RpcArguments;
use crate::plan::{Plan, Target};

pub fn execute(arguments: &RpcArguments) -> Result<u8, String> {
    let target = Target::new(&arguments.url, &arguments.amqp, &arguments.load)?;
    let mut plan = Plan::new(target, &arguments.load)?;
    plan.server_pid = arguments.server_pid;
    run_once(&plan, &arguments.output)
}
