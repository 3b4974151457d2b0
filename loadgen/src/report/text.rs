//! The report for people.

use super::format::{format_count, format_latency, three_digits};
use super::{Kind, Latency, Options, Processor, Report};
use crate::pacer::Arrival;
use crate::table::Table;
use std::fmt::{self, Display, Formatter};

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.headline())?;
        writeln!(f, "{}\n", self.machine_line())?;
        writeln!(
            f,
            "  calls     {} in {:.2} s: {} calls/s",
            format_count(self.calls),
            self.seconds,
            format_count(self.calls_per_s as u64)
        )?;
        write!(f, "{}", self.latency_table())?;
        if self.latency_from_send.is_some() {
            let meaning = "from the intended start, from the actual send, lateness of the send";
            writeln!(f, "            ({meaning})")?;
        }
        if self.timing.is_some() {
            let meaning = "by the broker: until a worker had it, until the reply was there, whole";
            writeln!(f, "            ({meaning})")?;
        }
        if self.health.held_back > 0 {
            writeln!(
                f,
                "  held back {} calls found no room in flight when due, which is no lag of ours",
                format_count(self.health.held_back)
            )?;
        }
        write_processor(f, "generator", self.generator_processor.as_ref())?;
        write_processor(f, "server", self.server_processor.as_ref())?;
        writeln!(f, "  health    {}", self.health)?;
        self.write_audit(f)
    }
}

impl Report {
    pub fn headline(&self) -> String {
        let Options {
            requesters,
            workers,
            in_flight,
            size,
            shape,
            ..
        } = &self.options;
        let bodies = shape.bodies(*size);
        let target = match self.kind {
            Kind::Relay => "bare relay",
            Kind::Amqp | Kind::Nats => &self.label,
        };
        let pace = match self.options.rate {
            Some(rate) => {
                let arrival = self.options.arrival.map_or("", Arrival::name);
                format!(
                    "{} calls/s asked for ({arrival})",
                    format_count(rate as u64)
                )
            }
            None => shape.pace(),
        };
        let seed = self.options.seed;
        let seed = seed.map_or_else(String::new, |seed| format!(", seed {seed}"));
        let style = self.options.amqp.as_ref().map_or_else(String::new, |amqp| {
            let ack = format!("{:?}", amqp.ack).to_lowercase();
            format!(", reply {}, ack {ack}", amqp.reply.name())
        });
        format!(
            "{target}: {requesters} requesters x {workers} workers, {in_flight} in flight each, \
             {bodies}{style}, {pace}{seed}"
        )
    }

    pub fn machine_line(&self) -> String {
        let machine = &self.machine;
        let (cores, threads) = (machine.cores, self.options.threads);
        format!(
            "{}, {cores} cores, Linux {}, loadgen threads {threads}",
            machine.cpu, machine.kernel
        )
    }

    fn write_audit(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let audit = &self.audit;
        writeln!(
            f,
            "  audit     issued {}, returned once {}, lost {}, duplicated {}, foreign {}, \
             corrupted {}, late {}, failed {}",
            format_count(audit.issued),
            format_count(audit.returned_once),
            format_count(audit.lost),
            format_count(audit.duplicated),
            format_count(audit.foreign),
            format_count(audit.corrupted),
            format_count(audit.late),
            format_count(audit.failed),
        )?;
        if self.unsent > 0 {
            writeln!(
                f,
                "  unsent    {} calls were due and found no room in flight until the end",
                format_count(self.unsent)
            )?;
        }
        self.besides.write(f, audit)?;
        for (reason, count) in &self.errors {
            writeln!(f, "  error     {} x {reason}", format_count(*count))?;
        }
        writeln!(f, "  verdict   {}", self.verdict())
    }

    pub fn verdict(&self) -> &'static str {
        match (self.was_interrupted, self.is_clean) {
            (true, _) => "interrupted",
            (false, true) if self.audit.explained() > 0 => {
                "clean: every call came back once, whole and in time, but for what is explained"
            }
            (false, true) => "clean: every call came back once, whole and in time",
            (false, false) => "NOT CLEAN",
        }
    }

    /// In an open loop from the intended start, from the send, and how far they are apart for the
    /// generator's own reasons.
    pub fn latency_table(&self) -> Table {
        // The first column is as wide as those of the lines around it.
        let head = [
            "        ", "p50", "p90", "p99", "p99.9", "p99.99", "max", "mean",
        ];
        let mut table = Table::new(head);
        let name = match self.latency_from_send {
            Some(_) => "intended",
            None => "latency",
        };
        table.push(latency_row(name, &self.latency));
        let timing = self.timing.as_ref();
        let others = [
            ("sent", self.latency_from_send.as_ref()),
            ("lag", self.lag.as_ref()),
            ("queued", timing.map(|timing| &timing.queued)),
            ("worker", timing.map(|timing| &timing.worker)),
            ("whole", timing.map(|timing| &timing.whole)),
        ];
        for (name, latency) in others {
            if let Some(latency) = latency {
                table.push(latency_row(name, latency));
            }
        }
        table
    }
}

fn latency_row(name: &str, latency: &Latency) -> Vec<String> {
    let figures = [
        latency.p50_us,
        latency.p90_us,
        latency.p99_us,
        latency.p99_9_us,
        latency.p99_99_us,
        latency.max_us,
        latency.mean_us,
    ];
    let cells = figures.map(|micros| format_latency((micros * 1e3) as u64));
    std::iter::once(name.to_owned()).chain(cells).collect()
}

fn write_processor(f: &mut Formatter<'_>, name: &str, usage: Option<&Processor>) -> fmt::Result {
    let Some(usage) = usage else { return Ok(()) };
    writeln!(
        f,
        "  {name:<9} {} µs of processor time per call, {:.2} cores",
        three_digits(usage.us_per_call),
        usage.cores
    )
}
