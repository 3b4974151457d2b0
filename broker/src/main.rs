//! The broker's process: configuration, log, panics, exit codes.

use broker::config::{Arguments, Config};
use clap::Parser;
use std::io::IsTerminal;
use std::process::ExitCode;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As clap exits when the arguments are wrong.
const EXIT_CONFIGURATION: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match Config::load(&arguments) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("broker: {}", error.trim_end());
            return ExitCode::from(EXIT_CONFIGURATION);
        }
    };
    if arguments.check_config {
        print!("{}", config.to_toml());
        return ExitCode::SUCCESS;
    }
    // Writes what is left when it goes out of scope.
    let _log = start_log(&config.log);
    abort_on_panic();
    match broker::runtime::run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("broker: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A thread of its own writes the log, so that whoever reads standard error slowly stalls no shard;
/// lines that it cannot keep up with are dropped.
fn start_log(filter: &str) -> WorkerGuard {
    let (writer, guard) = tracing_appender::non_blocking(std::io::stderr());
    tracing_subscriber::fmt()
        .compact()
        .with_env_filter(EnvFilter::new(filter))
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(writer)
        .init();
    guard
}

/// No shard can be lost: the others would wait for its mail. Not left to `panic = "abort"`, since
/// a test build unwinds.
fn abort_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("broker: internal error, stopping: {panic}");
        std::process::abort();
    }));
}
