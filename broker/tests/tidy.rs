//! The shape of the code, as ARCHITECTURE.md promises it: which room may know which, how long a
//! file may get, where `unsafe` may stand.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 600;
const LINE_LEN_MAX: usize = 100;

/// Each room of the engine, and the rooms of the engine that it may use.
const ENGINE_EDGES: [(&str, &[&str]); 16] = [
    ("time", &[]),
    ("name", &[]),
    ("wire", &[]),
    ("address", &["name", "time"]),
    ("message", &["address", "wire"]),
    ("buffer", &["message", "wire"]),
    ("violation", &["wire"]),
    ("exchange", &["address", "name", "wire"]),
    (
        "call",
        &["address", "message", "name", "time", "violation", "wire"],
    ),
    ("rules", &["name", "time"]),
    (
        "topology",
        &["address", "exchange", "name", "rules", "violation", "wire"],
    ),
    (
        "queue",
        &[
            "address", "message", "name", "rules", "time", "topology", "wire",
        ],
    ),
    (
        "channel",
        &[
            "address",
            "message",
            "name",
            "queue",
            "topology",
            "violation",
            "wire",
        ],
    ),
    (
        "connection",
        &[
            "address",
            "buffer",
            "call",
            "channel",
            "shard",
            "time",
            "violation",
            "wire",
        ],
    ),
    (
        "shard",
        &[
            "address",
            "buffer",
            "call",
            "channel",
            "connection",
            "exchange",
            "message",
            "name",
            "queue",
            "rules",
            "time",
            "topology",
            "violation",
            "wire",
        ],
    ),
    ("tests", &[]),
];

/// What an engine without I/O cannot mention.
const ENGINE_BANS: [&str; 8] = [
    "crate::runtime",
    "crate::config",
    "glommio",
    "io_uring",
    "std::fs",
    "TcpStream",
    "Instant",
    "SystemTime",
];

struct Source {
    path: PathBuf,
    /// Without the tests at its end.
    code: String,
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Rust file below `folder`, tests left out.
fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![workspace().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the project") {
            let path = entry.expect("readable").path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if path.is_dir() && name != "tests" && name != "target" {
                folders.push(path);
            } else if name.ends_with(".rs") && name != "tests.rs" {
                let text = fs::read_to_string(&path).expect("UTF-8");
                let code = text
                    .split("#[cfg(test)]\nmod tests")
                    .next()
                    .unwrap_or_default();
                found.push(Source {
                    path,
                    code: code.to_string(),
                });
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has sources");
    found
}

/// The rooms of the engine that a file's `use` lines name, whatever form they have.
fn used_rooms(source: &Source, depth: usize) -> BTreeSet<String> {
    let supers = "super::".repeat(depth);
    let statements = source.code.split(';').filter_map(|statement| {
        let at = statement.rfind("use ")?;
        Some(statement[at + 4..].split_whitespace().collect::<String>())
    });
    let mut rooms = BTreeSet::new();
    for path in statements {
        let tail = path.strip_prefix("crate::engine::").or_else(|| {
            path.strip_prefix(&supers)
                .filter(|tail| !tail.starts_with("super::"))
        });
        if let Some(tail) = tail {
            let room = tail
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .find(|w| !w.is_empty());
            rooms.extend(room.map(str::to_string));
        }
    }
    rooms
}

#[test]
fn rooms_of_the_engine_use_only_those_below_them() {
    let engine = workspace().join("broker/src/engine");
    for source in sources("broker/src/engine") {
        let relative = source.path.strip_prefix(&engine).expect("below the engine");
        let parts: Vec<String> = relative
            .iter()
            .map(|part| part.to_string_lossy().into_owned())
            .collect();
        let room = parts[0].trim_end_matches(".rs");
        if room == "mod" {
            continue;
        }
        // How many `super::` lead from this file to the engine.
        let depth = parts.len() - usize::from(parts.last().is_some_and(|file| file == "mod.rs"));
        let edges = ENGINE_EDGES.iter().find(|(name, _)| *name == room);
        let (_, allowed) = edges.unwrap_or_else(|| panic!("{room} is a room without its edges"));
        let known: BTreeSet<&str> = ENGINE_EDGES.iter().map(|(name, _)| *name).collect();
        for used in used_rooms(&source, depth) {
            let is_fine = used == room || !known.contains(&*used) || allowed.contains(&&*used);
            assert!(is_fine, "{} may not use {used}", source.path.display());
        }
    }
}

#[test]
fn the_engine_mentions_no_input_or_output() {
    for source in sources("broker/src/engine") {
        for line in source
            .code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
        {
            for ban in ENGINE_BANS {
                let mentions = line.contains(ban);
                assert!(!mentions, "{}: {ban} in: {line}", source.path.display());
            }
        }
    }
}

#[test]
fn loadgen_knows_of_the_broker_only_codec_ring_and_time() {
    let allowed = ["engine::wire", "engine::time", "runtime::ring", "limits"]
        .map(|path| format!("broker::{path}"));
    for source in sources("loadgen/src") {
        for line in source.code.lines().filter(|line| line.contains("broker::")) {
            let is_fine = allowed.iter().any(|path| line.contains(path));
            assert!(is_fine, "{}: {line}", source.path.display());
        }
    }
}

#[test]
fn unsafe_stands_only_in_the_runtime() {
    for folder in ["broker/src", "loadgen/src", "benches", "sim", "tests"] {
        for source in sources(folder) {
            let is_runtime = source
                .path
                .to_string_lossy()
                .contains("broker/src/runtime/");
            let is_unsafe = source.code.contains("unsafe {") || source.code.contains("unsafe fn");
            assert!(is_runtime || !is_unsafe, "{}", source.path.display());
        }
    }
}

#[test]
fn files_are_one_noun_long_and_finished() {
    for folder in ["broker/src", "loadgen/src", "benches", "sim", "tests"] {
        for source in sources(folder) {
            let path = source.path.display();
            let count = source.code.lines().count();
            assert!(count <= FILE_LINES_MAX, "{path} has {count} lines");
            for line in source.code.lines() {
                assert!(line.chars().count() <= LINE_LEN_MAX, "{path}: {line}");
                for ban in ["todo!(", "unimplemented!(", "dbg!("] {
                    assert!(!line.contains(ban), "{path}: {line}");
                }
            }
        }
    }
}
