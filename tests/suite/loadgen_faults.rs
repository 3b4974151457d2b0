//! `loadgen` makes things go wrong on purpose and audits every call: nothing may happen that its
//! faults do not explain.

use blackbox::loadgen::{number_after, number_before, run};
use blackbox::on_one_and_two_shards;

#[test]
fn with_acknowledgements_every_call_outlives_the_worker_that_had_it() {
    on_one_and_two_shards(|broker| {
        let options = "--duration 1500ms --kill-workers 20 --ack manual --prefetch 4 --queues 2";
        let report = run(broker, options);
        assert!(number_after(&report, "killed ") > 3, "{report}");
        assert_eq!(
            number_after(&report, "issued"),
            number_after(&report, "returned once"),
            "{report}"
        );
    });
}

#[test]
fn without_acknowledgements_only_what_killed_workers_had_is_lost() {
    on_one_and_two_shards(|broker| {
        let report = run(broker, "--duration 1s --timeout 1s --kill-workers 10");
        let explained = number_after(&report, "lost with a killed worker");
        let issued = number_after(&report, "issued");
        assert_eq!(issued, number_after(&report, "returned once") + explained);
    });
}

#[test]
fn killed_requesters_fail_their_own_calls_and_no_others() {
    on_one_and_two_shards(|broker| {
        for reply in ["queue", "queue-per-call"] {
            let options = format!("--duration 700ms --kill-requesters 20 --reply {reply}");
            let report = run(broker, &options);
            assert!(number_before(&report, "requesters;") > 1, "{report}");
            let explained = number_after(&report, "failed with a killed requester");
            let issued = number_after(&report, "issued");
            assert_eq!(issued, number_after(&report, "returned once") + explained);
        }
    });
}

#[test]
fn every_confirm_comes_while_workers_are_killed() {
    on_one_and_two_shards(|broker| {
        let options = "--calls 10000 --rate 10000 --kill-workers 10 --ack manual --confirm \
                       --persistent --reply queue-per-call --queues 6";
        let report = run(broker, options);
        assert_eq!(
            number_before(&report, "requests confirmed"),
            10_000,
            "{report}"
        );
    });
}

#[test]
fn connections_come_and_go_beside_the_load() {
    on_one_and_two_shards(|broker| {
        let report = run(broker, "--duration 1s --churn 200 --churn-call");
        let opened = number_before(&report, "connections opened");
        assert!(opened > 50, "{report}");
        assert_eq!(
            opened,
            number_after(&report, "connections opened,"),
            "{report}"
        );
    });
}

#[test]
fn five_hundred_idle_connections_are_held_from_several_addresses() {
    on_one_and_two_shards(|broker| {
        let options = "--calls 5000 --idle 500 --source 127.0.0.2-127.0.0.5";
        let report = run(broker, options);
        assert_eq!(number_before(&report, "connections held"), 500, "{report}");
    });
}

#[test]
fn messages_split_at_any_point_come_back_whole() {
    on_one_and_two_shards(|broker| {
        run(broker, "--calls 3000 --split 7");
        run(broker, "--calls 100 --split 3 --nagle --size 20000");
    });
}

#[test]
fn every_call_ends_while_workers_and_callers_are_killed() {
    on_one_and_two_shards(|broker| {
        for ack in ["auto", "manual"] {
            let options = format!(
                "--duration 1s --rpc-errors --kill-workers 20 --kill-requesters 5 --ack {ack}"
            );
            let report = run(broker, &options);
            assert!(number_after(&report, "503:") > 0, "{report}");
            let issued = number_after(&report, "issued");
            let answered: u64 = ["502:", "503:"]
                .into_iter()
                .filter(|status| report.contains(status))
                .map(|status| number_after(&report, status))
                .sum();
            let explained = number_after(&report, "failed with a killed requester");
            let returned = number_after(&report, "returned once");
            assert_eq!(issued, returned + answered + explained, "{report}");
        }
    });
}

#[test]
fn every_call_ends_at_its_deadline() {
    on_one_and_two_shards(|broker| {
        let options = "--calls 300 --rpc-errors --deadline 20ms --service fixed:50ms";
        let report = run(broker, options);
        assert!(number_after(&report, "504:") > 100, "{report}");
    });
}
