//! Tells the program of which commit it is and what compiled it: reports carry both.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Moves with every commit; there is none in a source archive.
    if let Some(log) = first_line("git", &["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    let commit = first_line("git", &["rev-parse", "--short", "HEAD"]);
    let commit = commit.unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=LOADGEN_COMMIT={commit}");
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let compiler = first_line(&compiler, &["--version"]).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=LOADGEN_COMPILER={compiler}");
}

fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.trim().to_owned();
    output.status.success().then_some(line)
}
