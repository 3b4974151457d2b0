//! What the broker does for services, under load: `loadgen` asks for it and audits every call.

use blackbox::loadgen::{number_after, number_before, run};
use blackbox::{Broker, on_one_and_two_shards};

#[test]
fn a_slow_worker_hoards_nothing_where_calls_go_to_the_fastest() {
    on_one_and_two_shards(|broker| {
        for dispatch in ["least-outstanding", "fastest"] {
            let options = format!(
                "--duration 1s --queues 1 --service exp:1ms --slow-worker 20 --dispatch {dispatch}"
            );
            let report = run(broker, &options);
            let slow = number_after(&report, "the slow worker answered");
            let all = number_after(&report, "issued");
            // In turn it would have a quarter.
            assert!(slow > 0 && slow < all / 6, "{report}");
        }
    });
}

#[test]
fn every_call_ends_whichever_worker_it_goes_to_while_workers_are_killed() {
    on_one_and_two_shards(|broker| {
        for dispatch in ["round-robin", "least-outstanding", "fastest"] {
            let options = format!(
                "--duration 1s --rpc-errors --rpc-timing --queues 2 --service exp:100us \
                 --kill-workers 20 --kill-requesters 5 --ack manual --dispatch {dispatch}"
            );
            let report = run(broker, &options);
            assert!(number_after(&report, "killed ") > 3, "{report}");
            assert!(number_after(&report, "returned once") > 100, "{report}");
            assert!(report.contains("\n  whole "), "{report}");
        }
    });
}

#[test]
fn what_would_come_too_late_is_refused_and_the_rest_is_served() {
    on_one_and_two_shards(|broker| {
        let options = "--duration 1s --queues 1 --service exp:5ms --ack manual --prefetch 1 \
                       --rpc-errors --deadline 20ms --rpc-shed";
        let report = run(broker, options);
        assert!(number_after(&report, "504:") > 0, "{report}");
        assert!(number_after(&report, "returned once") > 20, "{report}");
    });
}

/// Workers fill the memory until they are to wait, and go on answering on the same connections.
#[test]
fn an_alarm_stops_no_call() {
    for shard_count in [1, 2] {
        let flags = ["--body-max", "65536", "--queue-memory-max", "524288"];
        let Some(broker) = Broker::start_with(shard_count, &flags) else {
            return;
        };
        let report = run(&broker, "--duration 1s --rpc-errors --heap 10000");
        assert!(number_before(&report, " times to wait") > 0, "{report}");
        assert!(
            number_before(&report, " calls meanwhile") > 1000,
            "{report}"
        );
        let returned = number_after(&report, "returned once");
        assert_eq!(number_after(&report, "issued"), returned, "{report}");

        let options = "--duration 1s --rpc-errors --heap 10000 --ack manual --prefetch 2 \
                       --kill-workers 10 --kill-requesters 5";
        let report = run(&broker, options);
        assert!(number_before(&report, " times to wait") > 0, "{report}");
        assert!(number_before(&report, " calls meanwhile") > 0, "{report}");
    }
}
