//! Configuration: flags over environment over a TOML file over defaults, validated once.

use crate::engine::name::Name;
use crate::engine::rules::{ApplyTo, Definition, Policy, PolicyValue};
use crate::engine::shard::{Settings, User};
use crate::limits::{
    BODY_LEN_MAX, BODY_LEN_MAX_MAX, CALLS_MEASURED_PER_SECOND, CHANNEL_MAX, CONNECTION_COUNT_MAX,
    FRAME_LEN_MAX, FRAME_LEN_MIN, HEARTBEAT_S, Limits, POLICY_COUNT_MAX, SHARD_COUNT_MAX,
    VHOST_COUNT_MAX,
};
use crate::runtime::machine;
use clap::Parser;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

const PORT: u16 = 5672;
const SHARDS_MAX: u64 = SHARD_COUNT_MAX as u64;
/// A frame is received into memory whole.
const FRAME_MAX_MAX: u64 = 16 * 1024 * 1024;
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// Rondo: an AMQP 0-9-1 broker made first for remote procedure calls.
///
/// A flag is stronger than its environment variable, which is stronger than the configuration
/// file, which is stronger than the default.
#[derive(Debug, Default, Parser)]
#[command(name = "broker", version)]
pub struct Arguments {
    /// Address to listen on; may be given again. Port 0: any free one [default: 127.0.0.1:5672]
    #[arg(
        long,
        env = "RONDO_LISTEN",
        value_name = "ADDR:PORT",
        value_delimiter = ','
    )]
    pub listen: Vec<String>,
    /// Threads that serve connections, 1 to 64 [default: one per usable core]
    #[arg(long, env = "RONDO_SHARDS", value_name = "N")]
    pub shards: Option<u64>,
    /// Keep each shard on a core of its own: for machines that the broker has to itself
    #[arg(long, env = "RONDO_PIN")]
    pub pin: bool,
    /// TOML file with the same names in snake_case, and the users [default: none]
    #[arg(long, env = "RONDO_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// error, warn, info, debug, trace, or a filter such as info,broker=debug [default: info]
    #[arg(long, env = "RONDO_LOG", value_name = "LEVEL")]
    pub log: Option<String>,
    /// Virtual host beside "/", which is always there; may be given again [default: none]
    #[arg(
        long = "vhost",
        env = "RONDO_VHOSTS",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub vhosts: Vec<String>,
    /// Heartbeat proposed to clients, in seconds; 0 for none [default: 60]
    #[arg(long, env = "RONDO_HEARTBEAT", value_name = "SECONDS")]
    pub heartbeat: Option<u64>,
    /// Connections at a time; further ones are closed at once [default: 16384]
    #[arg(long, env = "RONDO_CONNECTIONS_MAX", value_name = "N")]
    pub connections_max: Option<u64>,
    /// Octets of a message body [default: 16777216]
    #[arg(long, env = "RONDO_BODY_MAX", value_name = "BYTES")]
    pub body_max: Option<u64>,
    /// Octets of a frame, at least 4096 [default: 131072]
    #[arg(long, env = "RONDO_FRAME_MAX", value_name = "BYTES")]
    pub frame_max: Option<u64>,
    /// Channels of a connection [default: 2047]
    #[arg(long, env = "RONDO_CHANNEL_MAX", value_name = "N")]
    pub channel_max: Option<u64>,
    /// Octets of messages waiting in queues [default: 40 % of the physical memory]
    #[arg(long, env = "RONDO_QUEUE_MEMORY_MAX", value_name = "BYTES")]
    pub queue_memory_max: Option<u64>,
    /// Calls per second and shard that are measured although nobody asked; 0 for none
    /// [default: 1000]
    #[arg(long, env = "RONDO_CALLS_MEASURED", value_name = "N")]
    pub calls_measured: Option<u64>,
    /// Print the configuration that would be used, without passwords, and exit
    #[arg(long)]
    pub check_config: bool,
}

/// What the file may say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: Option<Vec<String>>,
    shards: Option<u64>,
    pin: Option<bool>,
    log: Option<String>,
    vhosts: Option<Vec<String>>,
    heartbeat: Option<u64>,
    connections_max: Option<u64>,
    body_max: Option<u64>,
    frame_max: Option<u64>,
    channel_max: Option<u64>,
    queue_memory_max: Option<u64>,
    calls_measured: Option<u64>,
    user: Option<Vec<FileUser>>,
    policy: Option<Vec<FilePolicy>>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FilePolicy {
    name: String,
    #[serde(default = "default_vhost")]
    vhost: String,
    pattern: String,
    #[serde(default = "default_apply_to")]
    apply_to: String,
    #[serde(default)]
    priority: i32,
    definition: BTreeMap<String, FileValue>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
enum FileValue {
    Boolean(bool),
    Integer(i64),
    Text(String),
}

fn default_vhost() -> String {
    "/".into()
}

fn default_apply_to() -> String {
    "all".into()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileUser {
    name: String,
    password: String,
    #[serde(default)]
    loopback_only: bool,
}

/// Names the user only: what is read may be logged.
impl std::fmt::Debug for FileUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("FileUser").field(&self.name).finish()
    }
}

/// Checked: whatever starts from it need not check again.
#[derive(Clone, Debug)]
pub struct Config {
    pub listen: Vec<SocketAddr>,
    pub shards: u16,
    pub pin: bool,
    pub log: String,
    /// "/" first.
    pub vhosts: Vec<String>,
    pub heartbeat_s: u16,
    pub connections_max: usize,
    pub body_max: u64,
    pub frame_max: u32,
    pub channel_max: u16,
    pub queue_memory_max: usize,
    pub calls_measured: u32,
    pub users: Vec<User>,
    /// As the file has them, and checked, each with its virtual host.
    file_policies: Vec<FilePolicy>,
    pub policies: Vec<(String, Policy)>,
}

impl Config {
    /// Reads the file, if there is one. The error is a text for the operator.
    pub fn load(arguments: &Arguments) -> Result<Config, String> {
        let file = match &arguments.config {
            None => File::default(),
            Some(path) => {
                let text = fs::read_to_string(path)
                    .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
                toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?
            }
        };
        Config::merge(arguments, file)
    }

    fn merge(arguments: &Arguments, file: File) -> Result<Config, String> {
        let given = |flag: Option<u64>, file: Option<u64>| flag.or(file);
        let cores = machine::usable_cores().len() as u64;
        let shards = given(arguments.shards, file.shards).unwrap_or(cores.min(SHARDS_MAX));
        let heartbeat = given(arguments.heartbeat, file.heartbeat).unwrap_or(HEARTBEAT_S.into());
        let connections = given(arguments.connections_max, file.connections_max);
        let body_max = given(arguments.body_max, file.body_max).unwrap_or(BODY_LEN_MAX);
        let frame_max = given(arguments.frame_max, file.frame_max);
        let channel_max =
            given(arguments.channel_max, file.channel_max).unwrap_or(CHANNEL_MAX.into());
        let queue_memory = given(arguments.queue_memory_max, file.queue_memory_max)
            .unwrap_or_else(|| (machine::physical_memory_len() / 10 * 4).max(body_max));
        let calls_measured = given(arguments.calls_measured, file.calls_measured)
            .unwrap_or(CALLS_MEASURED_PER_SECOND.into());
        let connections = connections.unwrap_or(CONNECTION_COUNT_MAX as u64);
        let frame_max = frame_max.unwrap_or(u64::from(FRAME_LEN_MAX));
        let frame_range = (u64::from(FRAME_LEN_MIN), FRAME_MAX_MAX);
        let log = arguments.log.clone().or(file.log);
        let pin = arguments.pin || file.pin.unwrap_or(false);
        if pin && shards > cores {
            return Err(format!(
                "pin needs a core for each of the {shards} shards, not {cores}"
            ));
        }
        let vhosts = vhosts(&arguments.vhosts, file.vhosts)?;
        let file_policies = file.policy.unwrap_or_default();
        Ok(Config {
            policies: policies(&file_policies, &vhosts)?,
            file_policies,
            vhosts,
            listen: addresses(&arguments.listen, file.listen)?,
            shards: within("shards", shards, (1, SHARDS_MAX))?,
            pin,
            log: checked_log(log.unwrap_or_else(|| "info".into()))?,
            heartbeat_s: within("heartbeat", heartbeat, (0, u64::from(u16::MAX)))?,
            connections_max: within("connections_max", connections, (1, 1 << 24))?,
            body_max: within("body_max", body_max, (1, BODY_LEN_MAX_MAX))?,
            frame_max: within("frame_max", frame_max, frame_range)?,
            channel_max: within("channel_max", channel_max, (1, u64::from(u16::MAX)))?,
            // A body that is let in must also fit into an empty queue.
            queue_memory_max: within("queue_memory_max", queue_memory, (body_max, 1 << 50))?,
            calls_measured: within("calls_measured", calls_measured, (0, 1_000_000))?,
            users: users(file.user)?,
        })
    }

    /// The part that the engine knows; `secret` keys the names that must not be guessed,
    /// `started_at_s` is the engine's time zero in seconds since 1970.
    pub fn engine_settings(&self, secret: [u8; 16], started_at_s: u64) -> Settings {
        Settings {
            users: self.users.clone(),
            vhosts: self.vhosts.clone(),
            policies: self.policies.clone(),
            heartbeat_s: self.heartbeat_s,
            frame_len_max: self.frame_max,
            channel_max: self.channel_max,
            connection_count_max: self.connections_max,
            body_len_max: self.body_max,
            queued_len_max: self.queue_memory_max,
            calls_measured_per_second: self.calls_measured,
            started_at_s,
            limits: Limits::SHIPPED,
            secret,
        }
    }

    /// As a configuration file, with `***` in place of passwords.
    pub fn to_toml(&self) -> String {
        #[derive(Serialize)]
        struct Shown<'a> {
            listen: &'a [SocketAddr],
            shards: u16,
            pin: bool,
            log: &'a str,
            vhosts: &'a [String],
            heartbeat: u16,
            connections_max: usize,
            body_max: u64,
            frame_max: u32,
            channel_max: u16,
            queue_memory_max: usize,
            calls_measured: u32,
            user: Vec<ShownUser<'a>>,
            policy: &'a [FilePolicy],
        }
        #[derive(Serialize)]
        struct ShownUser<'a> {
            name: &'a str,
            password: &'static str,
            loopback_only: bool,
        }
        let shown = Shown {
            listen: &self.listen,
            shards: self.shards,
            pin: self.pin,
            log: &self.log,
            vhosts: &self.vhosts,
            heartbeat: self.heartbeat_s,
            connections_max: self.connections_max,
            body_max: self.body_max,
            frame_max: self.frame_max,
            channel_max: self.channel_max,
            queue_memory_max: self.queue_memory_max,
            calls_measured: self.calls_measured,
            user: self
                .users
                .iter()
                .map(|user| ShownUser {
                    name: &user.name,
                    password: "***",
                    loopback_only: user.loopback_only,
                })
                .collect(),
            policy: &self.file_policies,
        };
        toml::to_string(&shown).expect("numbers, texts and tables, tables last")
    }
}

fn within<T: TryFrom<u64>>(name: &str, value: u64, (min, max): (u64, u64)) -> Result<T, String> {
    let in_range = (min..=max)
        .contains(&value)
        .then(|| T::try_from(value).ok());
    in_range
        .flatten()
        .ok_or_else(|| format!("{name} must be {min} to {max}, not {value}"))
}

fn addresses(flags: &[String], file: Option<Vec<String>>) -> Result<Vec<SocketAddr>, String> {
    let texts = match file {
        _ if !flags.is_empty() => flags.to_vec(),
        Some(texts) if texts.is_empty() => return Err("listen names no address".into()),
        Some(texts) => texts,
        None => return Ok(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, PORT))]),
    };
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for text in &texts {
        let address = text.trim().parse().map_err(|_| {
            format!(
                "cannot listen on {text:?}: an address and port such as 127.0.0.1:5672 is needed"
            )
        })?;
        // Port 0 is another port each time.
        if addresses.contains(&address) && address.port() != 0 {
            return Err(format!("listen has {address} twice"));
        }
        addresses.push(address);
    }
    Ok(addresses)
}

/// "/", which is always there, and those that were asked for beside it.
fn vhosts(flags: &[String], file: Option<Vec<String>>) -> Result<Vec<String>, String> {
    let asked = match file {
        Some(names) if flags.is_empty() => names,
        _ => flags.to_vec(),
    };
    let names_root = asked.iter().any(|name| name == "/");
    let mut vhosts = vec!["/".to_string(); usize::from(!names_root)];
    if vhosts.len() + asked.len() > VHOST_COUNT_MAX {
        let text = format!("vhosts names more than {VHOST_COUNT_MAX}, \"/\" included");
        return Err(text);
    }
    for name in asked {
        if name.is_empty() || name.len() > 255 {
            return Err(format!(
                "a vhost has a name of 1 to 255 octets, not {}",
                name.len()
            ));
        }
        if vhosts.contains(&name) {
            return Err(format!("vhosts has {name:?} twice"));
        }
        vhosts.push(name);
    }
    Ok(vhosts)
}

/// Each name once in its virtual host, which must be there.
fn policies(file: &[FilePolicy], vhosts: &[String]) -> Result<Vec<(String, Policy)>, String> {
    let mut policies: Vec<(String, Policy)> = Vec::new();
    for policy in file {
        let FilePolicy { name, vhost, .. } = policy;
        let wrong = |what: String| format!("policy {name:?}: {what}");
        if name.is_empty() || name.len() > 255 {
            return Err(wrong("a name has 1 to 255 octets".into()));
        }
        if !vhosts.contains(vhost) {
            return Err(wrong(format!("there is no vhost {vhost:?}")));
        }
        let in_vhost = policies.iter().filter(|(other, _)| other == vhost);
        if in_vhost
            .clone()
            .any(|(_, known)| known.name.as_bytes() == name.as_bytes())
        {
            return Err(wrong(format!("it is there twice in vhost {vhost:?}")));
        }
        if in_vhost.count() >= POLICY_COUNT_MAX {
            return Err(wrong(format!(
                "vhost {vhost:?} has {POLICY_COUNT_MAX} already"
            )));
        }
        policies.push((vhost.clone(), checked_policy(policy).map_err(wrong)?));
    }
    Ok(policies)
}

fn checked_policy(policy: &FilePolicy) -> Result<Policy, String> {
    let apply_to = ApplyTo::parse(&policy.apply_to).ok_or_else(|| {
        format!(
            "apply_to must be all, queues or exchanges, not {:?}",
            policy.apply_to
        )
    })?;
    let value = |value: &FileValue| match value {
        FileValue::Boolean(value) => PolicyValue::Boolean(*value),
        FileValue::Integer(number) => PolicyValue::Integer(*number),
        FileValue::Text(text) => PolicyValue::Text(text.clone()),
    };
    let entries: Vec<(&str, PolicyValue)> = policy
        .definition
        .iter()
        .map(|(key, given)| (key.as_str(), value(given)))
        .collect();
    let definition = Definition::parse(entries.iter().map(|(key, value)| (*key, value)))?;
    let name = Name::from(policy.name.as_str());
    Policy::new(name, &policy.pattern, apply_to, policy.priority, definition)
}

/// A lone word is a level: as a filter, `inof` would be the name of a module that logs nothing.
fn checked_log(log: String) -> Result<String, String> {
    let is_word = log.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_word && !LEVELS.contains(&log.as_str()) {
        return Err(format!(
            "log must be one of {} or a filter, not {log:?}",
            LEVELS.join(", ")
        ));
    }
    match tracing_subscriber::EnvFilter::try_new(&log) {
        Ok(_) => Ok(log),
        Err(error) => Err(format!("log filter {log:?}: {error}")),
    }
}

fn users(file: Option<Vec<FileUser>>) -> Result<Vec<User>, String> {
    let Some(file) = file else {
        return Ok(vec![User {
            name: "guest".into(),
            password: "guest".into(),
            loopback_only: true,
        }]);
    };
    if file.is_empty() {
        return Err("there is no user: nobody could connect".into());
    }
    let mut users: Vec<User> = Vec::new();
    for FileUser {
        name,
        password,
        loopback_only,
    } in file
    {
        let mut problem = String::new();
        if name.is_empty() {
            problem.push_str("a user has no name");
        } else if password.is_empty() {
            let _ = write!(problem, "user {name:?} has no password");
        } else if users.iter().any(|user| user.name == name) {
            let _ = write!(problem, "user {name:?} is there twice");
        }
        if !problem.is_empty() {
            return Err(problem);
        }
        users.push(User {
            name,
            password,
            loopback_only,
        });
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(flags: &[&str], file: &str) -> Result<Config, String> {
        let arguments = Arguments::try_parse_from([&["broker"], flags].concat());
        let file = toml::from_str(file).map_err(|error| error.to_string())?;
        Config::merge(&arguments.map_err(|error| error.to_string())?, file)
    }

    fn refusal(flags: &[&str], file: &str) -> String {
        config(flags, file).unwrap_err()
    }

    #[test]
    fn defaults_let_guest_in_from_this_machine() {
        let config = config(&[], "").unwrap();
        assert_eq!(config.listen, ["127.0.0.1:5672".parse().unwrap()]);
        assert_eq!(
            usize::from(config.shards),
            machine::usable_cores().len().min(64)
        );
        let limits = (config.frame_max, config.channel_max, config.heartbeat_s);
        assert_eq!(limits, (131_072, 2047, 60));
        assert_eq!(config.users.len(), 1);
        assert!(config.users[0].name == "guest" && config.users[0].loopback_only);
    }

    #[test]
    fn a_flag_is_stronger_than_the_file_and_the_file_than_the_default() {
        let file = "shards = 3\nheartbeat = 5\nlisten = [\"127.0.0.1:1\"]\nlog = \"warn\"";
        let config = config(&["--shards", "2", "--listen", "[::1]:7"], file).unwrap();
        assert_eq!((config.shards, config.heartbeat_s), (2, 5));
        assert_eq!(config.listen, ["[::1]:7".parse().unwrap()]);
        assert_eq!(
            (config.log.as_str(), config.body_max),
            ("warn", BODY_LEN_MAX)
        );
    }

    #[test]
    fn vhosts_stand_beside_the_one_that_is_always_there() {
        let vhosts = |flags: &[&str], file| config(flags, file).unwrap().vhosts;
        assert_eq!(vhosts(&[], ""), ["/"]);
        assert_eq!(
            vhosts(&["--vhost", "a,b", "--vhost", "c"], ""),
            ["/", "a", "b", "c"]
        );
        assert_eq!(vhosts(&[], "vhosts = [\"a\"]"), ["/", "a"]);
        assert_eq!(vhosts(&["--vhost", "b"], "vhosts = [\"a\"]"), ["/", "b"]);
        assert_eq!(vhosts(&["--vhost", "a,/"], ""), ["a", "/"]);
        assert!(refusal(&["--vhost", "/,/"], "").contains("\"/\" twice"));
        assert!(refusal(&["--vhost", "a,a"], "").contains("\"a\" twice"));
        assert!(refusal(&["--vhost", ""], "").contains("1 to 255 octets, not 0"));
        assert!(refusal(&["--vhost", &"v".repeat(256)], "").contains("not 256"));
    }

    #[test]
    fn policies_of_the_file_are_checked() {
        let policy = |rest: &str| format!("[[policy]]\nname = \"p\"\npattern = \"^a\"\n{rest}");
        let good = policy("definition = { message-ttl = 5, overflow = \"drop-head\" }");
        let config = config(&[], &good).unwrap();
        assert_eq!(config.policies.len(), 1);
        assert!(config.policies[0].1.is_for_queue(&Name::from("ab")));
        assert!(!config.policies[0].1.is_for_exchange(&Name::from("ba")));
        for (rest, expected) in [
            (
                "definition = { ttl = 5 }",
                "policy \"p\": ttl is not recognised",
            ),
            ("definition = {}", "says nothing"),
            (
                "vhost = \"v\"\ndefinition = { expires = 5 }",
                "there is no vhost \"v\"",
            ),
            (
                "apply_to = \"x\"\ndefinition = { expires = 5 }",
                "apply_to must be all, queues",
            ),
        ] {
            let text = refusal(&[], &policy(rest));
            assert!(text.contains(expected), "{text}");
        }
        assert!(refusal(&[], &[good.as_str(), good.as_str()].join("\n")).contains("twice"));
    }

    #[test]
    fn users_of_the_file_replace_guest() {
        let file = "[[user]]\nname = \"ann\"\npassword = \"secret\"";
        let config = config(&[], file).unwrap();
        assert_eq!(config.users.len(), 1);
        assert!(config.users[0].name == "ann" && !config.users[0].loopback_only);
    }

    #[test]
    fn what_is_shown_can_be_read_again_and_holds_no_password() {
        let shown = config(&["--listen", "127.0.0.1:0"], "").unwrap().to_toml();
        assert!(!shown.contains("guest\"\npassword = \"guest"), "{shown}");
        let again = config(&[], &shown).unwrap();
        assert_eq!(again.to_toml(), shown);
    }

    #[test]
    fn unknown_names_and_wrong_types_are_refused_with_their_line() {
        let text = refusal(&[], "shards = 1\nshard = 2");
        assert!(
            text.contains("line 2") && text.contains("unknown field `shard`"),
            "{text}"
        );
        let text = refusal(
            &[],
            "[[user]]\nname = \"a\"\npassword = \"b\"\nadmin = true",
        );
        assert!(text.contains("line 4") && text.contains("admin"), "{text}");
        let text = refusal(&[], "\nheartbeat = \"long\"");
        assert!(text.contains("line 2"), "{text}");
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        for (flags, file, expected) in [
            (&["--shards", "0"][..], "", "shards must be 1 to 64, not 0"),
            (&["--shards", "65"], "", "shards must be 1 to 64, not 65"),
            (
                &[],
                "frame_max = 4095",
                "frame_max must be 4096 to 16777216, not 4095",
            ),
            (
                &[],
                "heartbeat = 65536",
                "heartbeat must be 0 to 65535, not 65536",
            ),
            (
                &[],
                "channel_max = 0",
                "channel_max must be 1 to 65535, not 0",
            ),
            (
                &["--connections-max", "0"],
                "",
                "connections_max must be 1 to 16777216, not 0",
            ),
            (
                &[],
                "body_max = 100\nqueue_memory_max = 99",
                "queue_memory_max must be 100 to",
            ),
            (
                &["--listen", "127.0.0.1:70000"],
                "",
                "cannot listen on \"127.0.0.1:70000\"",
            ),
            (
                &["--listen", "localhost"],
                "",
                "cannot listen on \"localhost\"",
            ),
            (
                &["--listen", "[::]:1,[::]:1"],
                "",
                "listen has [::]:1 twice",
            ),
            (&[], "listen = []", "listen names no address"),
            (&[], "user = []", "there is no user"),
            (&["--log", "loud"], "", "log must be one of error, warn"),
            (&["--log", "broker=loud"], "", "log filter \"broker=loud\""),
        ] {
            let text = refusal(flags, file);
            assert!(text.starts_with(expected), "{text}");
        }
    }

    #[test]
    fn users_need_names_and_passwords_of_their_own() {
        let user = |name, password| format!("[[user]]\nname='{name}'\npassword='{password}'\n");
        assert_eq!(refusal(&[], &user("", "x")), "a user has no name");
        assert_eq!(refusal(&[], &user("a", "")), "user \"a\" has no password");
        let twice = user("a", "x") + &user("a", "y");
        assert_eq!(refusal(&[], &twice), "user \"a\" is there twice");
    }

    #[test]
    fn port_zero_may_be_asked_for_twice() {
        let flags = ["--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"];
        assert_eq!(config(&flags, "").unwrap().listen.len(), 2);
    }
}
