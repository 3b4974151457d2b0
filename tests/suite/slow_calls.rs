//! The log of slow calls, wanted by a policy of the configuration file.

use std::{env, fs, process};

use blackbox::Broker;
use blackbox::rpc::{Caller, Worker, call};

const POLICY: &str = r#"
[[policy]]
name = "slow"
pattern = ".*"
definition = { rpc-slow-ms = 0 }
"#;

#[test]
fn each_slow_call_is_a_line_of_the_log() {
    let path = env::temp_dir().join(format!("rondo-slow-calls-{}.toml", process::id()));
    fs::write(&path, POLICY).unwrap();
    for shard_count in [1, 2] {
        let flags = ["--config", path.to_str().unwrap()];
        let Some(broker) = Broker::start_with(shard_count, &flags) else {
            break;
        };
        let mut worker = Worker::start(&broker);
        let mut caller = Caller::start(&broker);
        for _ in 0..3 {
            call(&mut caller, &mut worker, b"body");
        }
        caller.peer.close_connection();
        let exit = broker.shut_down();
        let is_slow = |line: &&str| line.contains("WARN") && line.contains("slow call queue=");
        let lines: Vec<&str> = exit.log.lines().filter(is_slow).collect();
        assert_eq!(lines.len(), 3, "{}", exit.log);
        for line in lines {
            for part in [
                "vhost=\"/\"",
                "outcome=answered",
                " worker_us=",
                " whole_us=",
            ] {
                assert!(line.contains(part), "{line}");
            }
        }
    }
    fs::remove_file(&path).unwrap();
}
