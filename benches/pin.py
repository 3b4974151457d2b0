#!/usr/bin/env python3
"""Shards pinned to a core each beside shards that the kernel places, by turns. Written to
results/pin/. loadgen and whatever else the machine does share the cores, which is the point."""

import argparse

import rig

# shards; requesters, workers, calls in flight per requester
LOADS = [(1, (1, 1, 1)), (2, (1, 1, 1)), (2, (16, 16, 1)), (2, (16, 16, 16))]
PLACEMENTS = {"free": [], "pinned": ["--pin"]}
KEYS = ["calls_per_s", "p50_us", "p99_us", "cpu_us_per_call"]


def name_of(shards, load):
    return f"{shards} shard{'s' if shards > 1 else ''}, {rig.load_name(load)}"


def run(placement, shards, load, options):
    requesters, workers, in_flight = (str(number) for number in load)
    arguments = ["--shards", str(shards), *PLACEMENTS[placement]]
    with rig.Server("broker", *arguments) as server:
        before = server.cpu_s()
        report = rig.loadgen(
            "rpc", "--url", server.url, "--requesters", requesters, "--workers", workers,
            "--in-flight", in_flight, "--duration", options.duration, "--warmup", options.warmup,
            "--size", "64", "--reply", "direct", "--ack", "auto",
        )
        cpu_s = server.cpu_s() - before
    figures = rig.figures(report)
    return {
        "placement": placement,
        "load": name_of(shards, load),
        **figures,
        "cpu_us_per_call": cpu_s * 1e6 / figures["calls_with_warmup"],
    }


def report(runs, about, options):
    lines = rig.header("Pinned shards beside free ones", about)
    lines += [
        f"Medians of {options.rounds} interleaved rounds of {options.duration} after "
        f"{options.warmup} of warm-up; 64-byte bodies, direct reply-to, auto-ack; loadgen shares "
        "the cores. The load is requesters x workers x calls in flight per requester.",
        "",
    ]
    rows = []
    for shards, load in LOADS:
        name = name_of(shards, load)
        mine = [run for run in runs if run["load"] == name]
        free, pinned = (
            rig.medians([run for run in mine if run["placement"] == placement], KEYS)
            for placement in PLACEMENTS
        )
        for placement, median in (("free", free), ("pinned", pinned)):
            rows.append([name, placement, *rig.figure_cells(median)])
        ratios = [f"{pinned[key] / free[key]:.2f} x" for key in KEYS]
        rows.append([name, "pinned / free", *ratios])
    return lines + rig.table(["load", "", *rig.FIGURE_NAMES], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--duration", default="2s")
    parser.add_argument("--warmup", default="500ms")
    options = parser.parse_args()
    rig.raise_nofile()

    runs = []
    for number in range(options.rounds):
        for shards, load in LOADS:
            for placement in PLACEMENTS:
                runs.append({"round": number, **run(placement, shards, load, options)})
                print(f"{number + 1}/{options.rounds} {runs[-1]}", flush=True)
    about = rig.facts("make bench-pin")
    rig.write_results("pin", report(runs, about, options), {**about, "runs": runs})


if __name__ == "__main__":
    main()
