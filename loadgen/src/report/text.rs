//! The report for people.

use super::format::{format_count, format_latency, three_digits};
use super::{Kind, Latency, Options, Processor, Report};
use crate::pacer::Arrival;
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
        let name = if self.latency_from_send.is_some() {
            "intended"
        } else {
            "latency"
        };
        write_latency(f, name, &self.latency)?;
        if let Some(latency) = &self.latency_from_send {
            write_latency(f, "sent", latency)?;
            writeln!(
                f,
                "            (from the intended start, and from the actual send)"
            )?;
        }
        if let Some(lag) = &self.lag {
            write_latency(f, "lag", lag)?;
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
        let verdict = match (self.was_interrupted, self.is_clean) {
            (true, _) => "interrupted",
            (false, true) => "clean: every call came back once, whole and in time",
            (false, false) => "NOT CLEAN",
        };
        writeln!(f, "  verdict   {verdict}")
    }
}

fn write_latency(f: &mut Formatter<'_>, name: &str, latency: &Latency) -> fmt::Result {
    let row = |micros: f64| format_latency((micros * 1e3) as u64);
    writeln!(
        f,
        "  {name:<9} p50 {}   p90 {}   p99 {}   p99.9 {}   p99.99 {}   max {}   mean {}",
        row(latency.p50_us),
        row(latency.p90_us),
        row(latency.p99_us),
        row(latency.p99_9_us),
        row(latency.p99_99_us),
        row(latency.max_us),
        row(latency.mean_us),
    )
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
