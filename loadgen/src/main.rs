//! loadgen: drives correlated round trips through a broker and audits every one.
//!
//! A `command` makes a `plan` of its `arguments`, has it run by the `runtime` with `client`s on
//! network rings, and hands the results to `report`; `audit` and `recorder` keep the books. Only
//! `runtime` and `relay`, the server that `command::floor` starts, know sockets.

// A program has no outside: `pub` here marks what other rooms may use.
#![allow(unreachable_pub)]

mod arguments;
mod audit;
mod body;
mod call;
mod casualties;
mod client;
mod command;
mod comparison;
mod distribution;
mod health;
mod objectives;
mod pacer;
mod plan;
mod plot;
mod recorder;
mod relay;
mod report;
mod runtime;
mod search;
mod series;
mod sizes;
mod statistics;
mod supply;
mod table;

use arguments::Arguments;
use clap::Parser;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match command::execute(&arguments.command) {
        Ok(status) => ExitCode::from(status),
        Err(message) => {
            eprintln!("loadgen: {message}");
            ExitCode::from(command::EXIT_NOT_STARTED)
        }
    }
}
