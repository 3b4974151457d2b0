#!/usr/bin/env python3
"""The broker beside the bare relay: same loads, same minutes, by turns. Written to results/floor/.

Single runs differ by tens of per cent on a machine that the clients share, so only the medians of
interleaved runs count. Every run has a fresh server; the CPU is the server's own."""

import argparse

import rig

# requesters, workers, calls in flight per requester
LOADS = [(1, 1, 1), (16, 16, 1), (64, 64, 1), (16, 16, 16)]
KEYS = ["calls_per_s", "p50_us", "p99_us", "cpu_us_per_call"]
# As a multiple of the floor's, for one shard.
AIMS = {
    (1, 1, 1): "p50 <= 1.15 x, CPU <= 1.3 x",
    (16, 16, 1): "calls/s >= 0.9 x, CPU <= 1.25 x, p99 <= 1.25 x",
    (64, 64, 1): "calls/s >= 0.95 x, CPU <= 1.25 x",
    (16, 16, 16): "calls/s >= 0.6 x and >= 400 k",
}


def run(subject, load, options):
    requesters, workers, in_flight = (str(number) for number in load)
    arguments = [
        "--requesters", requesters, "--workers", workers, "--in-flight", in_flight,
        "--duration", options.duration, "--warmup", options.warmup, "--size", "64",
    ]
    if subject == "floor":
        server = rig.Server("loadgen", "relay")
    else:
        shards = subject.rpartition(" ")[2]
        server = rig.Server("broker", "--shards", shards)
    with server:
        before = server.cpu_s()
        if subject == "floor":
            report = rig.loadgen("rpc", "--url", f"relay://{server.address}", *arguments)
        else:
            report = rig.loadgen(
                "rpc", "--url", server.url, "--reply", "direct", "--ack", "auto", *arguments
            )
        cpu_s = server.cpu_s() - before
    figures = rig.figures(report)
    return {
        "subject": subject,
        "load": rig.load_name(load),
        **figures,
        # The warm-up is in the CPU time, so it is in the calls.
        "cpu_us_per_call": cpu_s * 1e6 / figures["calls_with_warmup"],
    }


def report(runs, subjects, about, options):
    lines = rig.header("Broker and floor, side by side", about)
    lines += [
        f"Medians of {options.rounds} interleaved rounds of {options.duration} after "
        f"{options.warmup} of warm-up; 64-byte bodies, direct reply-to, auto-ack; loadgen shares "
        "the cores. CPU is the server's own (user and system). The load is requesters x workers "
        "x calls in flight per requester. The floor is `loadgen relay`, which copies octets.",
        "",
    ]
    rows = []
    for load in LOADS:
        name = rig.load_name(load)
        mine = {
            subject: rig.medians(
                [run for run in runs if run["load"] == name and run["subject"] == subject], KEYS
            )
            for subject in subjects
        }
        for subject, median in mine.items():
            rows.append([name, subject, *rig.figure_cells(median), ""])
            if subject != "floor":
                ratios = [f"{median[key] / mine['floor'][key]:.2f} x" for key in KEYS]
                rows.append([name, f"{subject} / floor", *ratios, AIMS.get(load, "")])
    return lines + rig.table(["load", "", *rig.FIGURE_NAMES, "aim (1 shard)"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--duration", default="3s")
    parser.add_argument("--warmup", default="500ms")
    parser.add_argument("--shards", default="1", help="comma separated, each a subject")
    options = parser.parse_args()
    rig.raise_nofile()

    subjects = ["floor"] + [f"broker, shards {count}" for count in options.shards.split(",")]
    runs = []
    for number in range(options.rounds):
        for load in LOADS:
            for subject in subjects:
                runs.append({"round": number, **run(subject, load, options)})
                print(f"{number + 1}/{options.rounds} {runs[-1]}", flush=True)
    about = rig.facts("make bench-floor")
    rig.write_results("floor", report(runs, subjects, about, options), {**about, "runs": runs})


if __name__ == "__main__":
    main()
