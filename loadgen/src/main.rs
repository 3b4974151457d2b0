//! loadgen: drives correlated round trips through a broker and audits every one.
//!
//! `plan` says what to do, `runtime` does it with `client`s on network rings, `audit` and
//! `recorder` keep the books, `report` tells what they hold. Only `runtime` knows sockets, threads
//! and the clock.

// A program has no outside: `pub` here marks what other rooms may use.
#![allow(unreachable_pub)]

mod arguments;
mod audit;
mod body;
mod call;
mod client;
mod pacer;
mod plan;
mod recorder;
mod report;
mod runtime;
mod supply;

use arguments::Arguments;
use clap::Parser;
use plan::Plan;
use report::Report;
use std::fs;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXIT_NOT_CLEAN: u8 = 1;
const EXIT_NOT_STARTED: u8 = 2;
const EXIT_INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match Plan::new(&arguments.command).and_then(|plan| run(&plan)) {
        Ok(status) => ExitCode::from(status),
        Err(message) => {
            eprintln!("loadgen: {message}");
            ExitCode::from(EXIT_NOT_STARTED)
        }
    }
}

fn run(plan: &Plan) -> Result<u8, String> {
    let results = runtime::run(plan)?;
    let report = Report::new(plan, &results);
    if !plan.is_quiet {
        print!("{report}");
    } else if !report.is_clean {
        eprint!("{report}");
    }
    if let Some(file) = &plan.json {
        let json = serde_json::to_string_pretty(&report).expect("a report has only plain values");
        fs::write(file, json + "\n").map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(match (report.was_interrupted, report.is_clean) {
        (true, _) => EXIT_INTERRUPTED,
        (false, true) => 0,
        (false, false) => EXIT_NOT_CLEAN,
    })
}
