#!/usr/bin/env python3
"""What it costs that calls are measured: the broker that measures none beside the one that measures
1,000 per second (as it ships) and the one that measures all, by turns. Written to results/measured/.
Its own CPU per call is what counts: it is moved least by what else the machine does."""

import argparse

import rig

# requesters, workers, calls in flight per requester
LOADS = [(1, 1, 1), (16, 16, 1), (16, 16, 16)]
MEASURED = {"none": "0", "1,000/s": "1000", "all": "1000000"}
KEYS = ["calls_per_s", "p50_us", "p99_us", "cpu_us_per_call"]


def run(measured, load, options):
    requesters, workers, in_flight = (str(number) for number in load)
    arguments = ["--shards", "1", "--calls-measured", MEASURED[measured]]
    with rig.Server("broker", *arguments) as server:
        before = server.cpu_s()
        report = rig.loadgen(
            "rpc", "--url", server.url, "--requesters", requesters, "--workers", workers,
            "--in-flight", in_flight, "--duration", options.duration, "--warmup", options.warmup,
            "--size", "64", "--reply", options.reply, "--ack", "auto",
        )
        cpu_s = server.cpu_s() - before
    figures = rig.figures(report)
    return {
        "measured": measured,
        "load": rig.load_name(load),
        **figures,
        # The warm-up is in the CPU time, so it is in the calls.
        "cpu_us_per_call": cpu_s * 1e6 / figures["calls_with_warmup"],
    }


def report(runs, about, options):
    lines = rig.header("Calls measured, and not", about)
    lines += [
        f"Medians of {options.rounds} interleaved rounds of {options.duration} after "
        f"{options.warmup} of warm-up; one shard, 64-byte bodies, replies by {options.reply}, "
        "auto-ack; loadgen shares the cores. The load is requesters x workers x calls in flight "
        "per requester. Ratios are to the broker that measures none.",
        "",
    ]
    rows = []
    for load in LOADS:
        name = rig.load_name(load)
        medians = {
            measured: rig.medians(
                [run for run in runs if run["load"] == name and run["measured"] == measured], KEYS
            )
            for measured in MEASURED
        }
        for measured, median in medians.items():
            rows.append([name, measured, *rig.figure_cells(median)])
            if measured != "none":
                ratios = [f"{median[key] / medians['none'][key]:.3f} x" for key in KEYS]
                rows.append([name, f"{measured} / none", *ratios])
    return lines + rig.table(["load", "measured", *rig.FIGURE_NAMES], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--duration", default="2s")
    parser.add_argument("--warmup", default="500ms")
    parser.add_argument("--reply", choices=["direct", "queue"], default="direct")
    options = parser.parse_args()
    rig.raise_nofile()

    runs = []
    for number in range(options.rounds):
        for load in LOADS:
            for measured in MEASURED:
                runs.append({"round": number, **run(measured, load, options)})
                print(f"{number + 1}/{options.rounds} {runs[-1]}", flush=True)
    about = rig.facts("make bench-measured")
    rig.write_results("measured", report(runs, about, options), {**about, "runs": runs})


if __name__ == "__main__":
    main()
