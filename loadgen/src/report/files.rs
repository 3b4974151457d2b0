//! The files of a run that other tools read: percentiles (.hgrm), intervals (HDR log, CSV).

use super::Report;
use crate::series::Interval;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, IntervalLogWriterError};
use std::fmt::Write;
use std::io;

/// Lines per halving of what is left to 100 %, as HdrHistogram's own tools have it.
const TICKS_PER_HALF_DISTANCE: u32 = 5;

/// Of the sub-buckets of a histogram with three digits.
const SUB_BUCKET_COUNT: u32 = 2048;

/// HdrHistogram's percentile text, values in microseconds.
pub fn hgrm(latency: &Histogram<u64>) -> String {
    let mut text = "       Value     Percentile TotalCount 1/(1-Percentile)\n\n".to_owned();
    let mut count = 0;
    for step in latency.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        count += step.count_since_last_iteration();
        let value = step.value_iterated_to() as f64 / 1e3;
        let quantile = step.quantile_iterated_to();
        let _ = write!(text, "{value:12.3} {quantile:.12} {count:10}");
        if quantile < 1.0 {
            let _ = write!(text, " {:14.2}", 1.0 / (1.0 - quantile));
        }
        text.push('\n');
    }
    let mean = latency.mean() / 1e3;
    let deviation = latency.stdev() / 1e3;
    let max = latency.max() as f64 / 1e3;
    let total = latency.len();
    let buckets = latency.buckets();
    let _ = writeln!(
        text,
        "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]"
    );
    let _ = writeln!(text, "#[Max     = {max:12.3}, Total count    = {total:12}]");
    let _ = writeln!(
        text,
        "#[Buckets = {buckets:12}, SubBuckets     = {SUB_BUCKET_COUNT:12}]"
    );
    text
}

/// The interval log of HdrHistogram 1.3: one compressed histogram per interval, nanoseconds.
pub fn interval_log(intervals: &[Interval]) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let to_io = |error| match error {
        IntervalLogWriterError::IoError(error) => error,
        IntervalLogWriterError::SerializeError(error) => io::Error::other(format!("{error:?}")),
    };
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("nanoseconds from the intended start; times from the start of the run")
        .begin_log_with(&mut octets, &mut serializer)?;
    for interval in intervals {
        log.write_histogram(&interval.since_intended, interval.start, interval.len, None)
            .map_err(to_io)?;
    }
    Ok(octets)
}

/// One line per interval.
pub fn csv(report: &Report) -> String {
    let mut text = "seconds,calls,calls_per_s,p50_us,p99_us,max_us,errors\n".to_owned();
    for row in &report.series {
        let _ = writeln!(
            text,
            "{},{},{:.1},{:.1},{:.1},{:.1},{}",
            row.seconds, row.calls, row.calls_per_s, row.p50_us, row.p99_us, row.max_us, row.errors
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::new_histogram;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    use std::time::Duration;

    fn histogram(micros: std::ops::RangeInclusive<u64>) -> Histogram<u64> {
        let mut histogram = new_histogram();
        for value in micros {
            histogram.record(value * 1000).unwrap();
        }
        histogram
    }

    #[test]
    fn the_percentile_text_goes_from_the_least_to_the_most() {
        let text = hgrm(&histogram(1..=1000));
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                line.split_whitespace()
                    .map(|field| field.parse().unwrap())
                    .collect()
            })
            .collect();
        assert_eq!(rows[0][1], 0.0);
        let last = rows.last().unwrap();
        assert_eq!((last[1], last[2] as u64, last.len()), (1.0, 1000, 3));
        assert!((last[0] - 1000.0).abs() < 1.0);
        assert!(
            rows.windows(2)
                .all(|pair| pair[0][0] <= pair[1][0] && pair[0][2] <= pair[1][2])
        );
        assert!(text.contains("Total count    =         1000]"));
    }

    #[test]
    fn an_interval_log_reads_back() {
        let intervals = [(0, 10), (1, 20)].map(|(second, count)| Interval {
            start: Duration::from_secs(second),
            len: Duration::from_secs(1),
            since_intended: histogram(1..=count),
            error_count: 0,
        });
        let octets = interval_log(&intervals).unwrap();
        let histograms: Vec<Duration> = IntervalLogIterator::new(&octets)
            .filter_map(|entry| match entry.unwrap() {
                LogEntry::Interval(interval) => Some(interval.start_timestamp()),
                _ => None,
            })
            .collect();
        assert_eq!(histograms, [Duration::ZERO, Duration::from_secs(1)]);
    }
}
