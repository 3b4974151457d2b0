//! What the connections are like, and which others are there beside those that call.

use clap::Args;
use std::net::Ipv4Addr;
use std::str::FromStr;

#[derive(Args, Clone, Debug)]
pub struct ConnectionArguments {
    /// Connections opened, set up and closed again per second, beside the load
    #[arg(long, value_name = "PER-S", help_heading = "Connections")]
    pub churn: Option<f64>,
    /// Each of them makes one call before it closes
    #[arg(long, requires = "churn", help_heading = "Connections")]
    pub churn_call: bool,
    /// Connections held open beside the load: set up before it, heartbeats answered; one that
    /// dies is an error
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        help_heading = "Connections"
    )]
    pub idle: u32,
    /// Addresses to connect from, in turn: 127.0.0.2 or 127.0.0.2-127.0.0.9 [default: the
    /// system's choice; on loopback one more for each 20000 connections]
    #[arg(long, value_name = "IP[-IP]", help_heading = "Connections")]
    pub source: Option<Sources>,
    /// Write each request and each reply in N sends, one after another
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        help_heading = "Connections"
    )]
    pub split: u32,
    /// Leave Nagle's algorithm on: no TCP_NODELAY
    #[arg(long, help_heading = "Connections")]
    pub nagle: bool,
}

/// From the first address to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sources {
    pub first: Ipv4Addr,
    pub last: Ipv4Addr,
}

impl FromStr for Sources {
    type Err = String;

    fn from_str(text: &str) -> Result<Sources, String> {
        let parse = |text: &str| {
            text.parse()
                .map_err(|_| format!("{text:?} is no IPv4 address"))
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let sources = Sources {
            first: parse(first)?,
            last: parse(last)?,
        };
        if sources.first > sources.last {
            return Err(format!("{first} comes after {last}"));
        }
        Ok(sources)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_one_address_or_a_range() {
        let sources: Sources = "127.0.0.2-127.0.0.9".parse().unwrap();
        assert_eq!(sources.last, Ipv4Addr::new(127, 0, 0, 9));
        let one: Sources = "10.0.0.1".parse().unwrap();
        assert_eq!(one.first, one.last);
        for wrong in ["", "x", "127.0.0.9-127.0.0.2", "127.0.0.2-"] {
            assert!(wrong.parse::<Sources>().is_err(), "{wrong}");
        }
    }
}
