#!/usr/bin/env python3
"""Calls within one shard beside calls across two, by turns. Written to results/cross-shard/.

The broker deals connections to its shards in turn, so the order in which loadgen connects decides:
all workers first and then all requesters puts both ends of a call on one shard, by pairs puts them
on two. Same broker, same load, same minutes."""

import argparse

import rig

# requesters, workers, calls in flight per requester. A second worker, idle, puts the one
# requester on the first worker's shard.
LOADS = [(1, 2, 1), (16, 16, 1), (16, 16, 16)]
ORDERS = {"same shard": "grouped", "two shards": "paired"}
KEYS = ["calls_per_s", "p50_us", "p99_us", "cpu_us_per_call"]
AIM = "p50 <= 1.25 x"


def run(placement, load, options):
    requesters, workers, in_flight = (str(number) for number in load)
    with rig.Server("broker", "--shards", "2") as server:
        before = server.cpu_s()
        report = rig.loadgen(
            "rpc", "--url", server.url, "--requesters", requesters, "--workers", workers,
            "--in-flight", in_flight, "--duration", options.duration, "--warmup", options.warmup,
            "--size", "64", "--reply", "direct", "--ack", "auto",
            "--connect-order", ORDERS[placement],
        )
        cpu_s = server.cpu_s() - before
    figures = rig.figures(report)
    return {
        "placement": placement,
        "load": rig.load_name(load),
        **figures,
        "cpu_us_per_call": cpu_s * 1e6 / figures["calls_with_warmup"],
    }


def report(runs, about, options):
    lines = rig.header("Calls within a shard and across two", about)
    lines += [
        f"Medians of {options.rounds} interleaved rounds of {options.duration} after "
        f"{options.warmup} of warm-up; a broker with two shards, 64-byte bodies, direct reply-to, "
        "auto-ack; loadgen shares the cores. The load is requesters x workers x calls in flight "
        "per requester; in 1x2x1 one worker is idle and only places the requester.",
        "",
    ]
    rows = []
    for load in LOADS:
        name = rig.load_name(load)
        mine = [run for run in runs if run["load"] == name]
        same, two = (
            rig.medians([run for run in mine if run["placement"] == placement], KEYS)
            for placement in ORDERS
        )
        for placement, median in (("same shard", same), ("two shards", two)):
            rows.append([name, placement, *rig.figure_cells(median), ""])
        ratios = [f"{two[key] / same[key]:.2f} x" for key in KEYS]
        rows.append([name, "two / same", *ratios, AIM])
    return lines + rig.table(["load", "", *rig.FIGURE_NAMES, "aim"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--duration", default="3s")
    parser.add_argument("--warmup", default="500ms")
    options = parser.parse_args()
    rig.raise_nofile()

    runs = []
    for number in range(options.rounds):
        for load in LOADS:
            for placement in ORDERS:
                runs.append({"round": number, **run(placement, load, options)})
                print(f"{number + 1}/{options.rounds} {runs[-1]}", flush=True)
    about = rig.facts("make bench-cross-shard")
    rig.write_results("cross-shard", report(runs, about, options), {**about, "runs": runs})


if __name__ == "__main__":
    main()
