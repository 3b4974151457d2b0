//! What a command calls: a server with a plan for it, or a relay that it starts itself.

use super::floor::RelayProcess;
use crate::arguments::{AmqpArguments, LoadArguments, RoundsArguments};
use crate::plan::{Plan, Target};
use crate::report::Report;
use crate::runtime::{self, Results, Watcher};

pub struct Subject {
    /// `None`: what the server calls itself.
    label: Option<String>,
    pub plan: Plan,
    /// Ends with the subject.
    _relay: Option<RelayProcess>,
}

/// How a subject is called, of whatever kind it is.
#[derive(Clone, Copy)]
pub struct Calls<'a> {
    pub amqp: &'a AmqpArguments,
    pub load: &'a LoadArguments,
}

impl Subject {
    /// What is named by a URL, or the floor by its name. Errors: one sentence for the user.
    pub fn new(url: &str, pid: Option<u32>, calls: Calls<'_>) -> Result<Subject, String> {
        match url {
            "floor" => Subject::floor(calls.load),
            url => Subject::server(url, pid, calls),
        }
    }

    /// A server that runs already. Errors: one sentence for the user.
    fn server(url: &str, pid: Option<u32>, calls: Calls<'_>) -> Result<Subject, String> {
        let mut plan = Plan::new(Target::new(url, calls.amqp, calls.load)?, calls.load)?;
        plan.server_pid = pid.or_else(|| runtime::listener_pid(plan.target.address()));
        Ok(Subject {
            label: None,
            plan,
            _relay: None,
        })
    }

    /// A relay, started here.
    pub fn floor(load: &LoadArguments) -> Result<Subject, String> {
        // Before anything is started: a wrong option needs no relay to be found.
        Plan::new(Target::new_relay("", load)?, load)?;
        let relay = RelayProcess::start()?;
        let mut plan = Plan::new(Target::new_relay(&relay.address, load)?, load)?;
        plan.server_pid = Some(relay.pid());
        Ok(Subject {
            label: None,
            plan,
            _relay: Some(relay),
        })
    }

    /// `self`, and all that it takes turns with.
    pub fn with_others(
        mut self,
        rounds: &RoundsArguments,
        calls: Calls<'_>,
    ) -> Result<Vec<Subject>, String> {
        self.label.clone_from(&rounds.label);
        if !rounds.vs_pid.is_empty() && rounds.vs_pid.len() != rounds.vs.len() {
            return Err("give a --vs-pid for each --vs, or none".to_owned());
        }
        let mut subjects = vec![self];
        for (index, text) in rounds.vs.iter().enumerate() {
            let (label, url) = split_name(text);
            let mut subject = Subject::new(url, rounds.vs_pid.get(index).copied(), calls)?;
            subject.label = label.map(str::to_owned);
            subjects.push(subject);
        }
        Ok(subjects)
    }

    /// One run. Errors: one sentence for the user.
    pub fn run(&self, round: u32, watcher: &Watcher) -> Result<(Report, Results), String> {
        self.run_plan(&self.plan, round, watcher)
    }

    /// One run of a plan made from the subject's own. Errors: as `run`.
    pub fn run_plan(
        &self,
        plan: &Plan,
        round: u32,
        watcher: &Watcher,
    ) -> Result<(Report, Results), String> {
        let results = runtime::run(plan, watcher)?;
        let mut report = Report::new(plan, &results);
        report.round = round;
        if let Some(label) = &self.label {
            report.label.clone_from(label);
        }
        Ok((report, results))
    }
}

/// "name=url" or "url", which may have a "=" of its own.
fn split_name(text: &str) -> (Option<&str>, &str) {
    match text.split_once('=') {
        Some((name, url)) if !name.contains("://") && !name.is_empty() => (Some(name), url),
        _ => (None, text),
    }
}

/// Two servers of one name and version would be taken for one.
pub fn tell_apart(label: &str, subject: usize, known: &mut Vec<(usize, String)>) -> String {
    if let Some((_, name)) = known.iter().find(|(owner, _)| *owner == subject) {
        return name.clone();
    }
    let is_taken = |name: &str| known.iter().any(|(_, taken)| taken == name);
    let mut name = label.to_owned();
    for number in 2.. {
        if !is_taken(&name) {
            break;
        }
        name = format!("{label} #{number}");
    }
    known.push((subject, name.clone()));
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_before_the_url() {
        assert_eq!(split_name("floor"), (None, "floor"));
        assert_eq!(split_name("tcp=floor"), (Some("tcp"), "floor"));
        assert_eq!(split_name("a=nats://b"), (Some("a"), "nats://b"));
        assert_eq!(split_name("amqp://a:b=c@d"), (None, "amqp://a:b=c@d"));
    }

    #[test]
    fn two_servers_of_one_name_are_numbered_and_stay_so() {
        let mut known = Vec::new();
        let names: Vec<String> = [
            (0, "Rondo"),
            (1, "Rondo"),
            (2, "floor"),
            (1, "Rondo"),
            (0, "Rondo"),
        ]
        .into_iter()
        .map(|(subject, label)| tell_apart(label, subject, &mut known))
        .collect();
        assert_eq!(names, ["Rondo", "Rondo #2", "floor", "Rondo #2", "Rondo"]);
    }
}
