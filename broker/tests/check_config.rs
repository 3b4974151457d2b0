//! The configuration as an operator meets it: the real binary, its environment and exit codes.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Output};

fn broker(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_broker"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn file(name: &str, content: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::File::create(&path)
        .unwrap()
        .write_all(content.as_bytes())
        .unwrap();
    path.to_str().unwrap().into()
}

#[test]
fn the_environment_stands_between_flags_and_the_file() {
    let path = file(
        "between.toml",
        "shards = 1\nheartbeat = 10\nchannel_max = 100\n\
         [[user]]\nname = \"ann\"\npassword = \"secret\"\n",
    );
    let environment = [
        ("RONDO_CONFIG", path.as_str()),
        ("RONDO_SHARDS", "2"),
        ("RONDO_HEARTBEAT", "20"),
        ("RONDO_LISTEN", "127.0.0.1:1,[::1]:2"),
    ];
    let output = broker(&["--check-config", "--shards", "3"], &environment);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for line in [
        "shards = 3",
        "heartbeat = 20",
        "channel_max = 100",
        "listen = [\"127.0.0.1:1\", \"[::1]:2\"]",
        "name = \"ann\"",
    ] {
        assert!(
            shown.lines().any(|shown| shown == line),
            "{line} in {shown}"
        );
    }
    assert!(!shown.contains("secret"));
}

#[test]
fn a_wrong_configuration_exits_with_two_and_says_where() {
    let path = file("wrong.toml", "shards = 1\n\nports = 3\n");
    let output = broker(&["--check-config", "--config", &path], &[]);
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    assert!(
        error.contains("wrong.toml") && error.contains("line 3"),
        "{error}"
    );
    let output = broker(&["--config", "/nonexistent.toml"], &[]);
    assert_eq!(output.status.code(), Some(2));
    let output = broker(&["--check-config"], &[("RONDO_SHARDS", "many")]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn an_address_in_use_exits_with_one_and_one_line() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let output = broker(&["--listen", &address, "--log", "error"], &[]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(
        error.starts_with(&format!("broker: cannot listen on {address}: ")),
        "{error}"
    );
    assert_eq!(error.lines().count(), 1);
    assert!(output.stdout.is_empty());
}
