#!/usr/bin/env python3
"""What calls cost in less usual company: large replies, small calls beside large ones, thousands
of connections, a callback queue per call, clients that split their messages with Nagle on.

Each scenario compares two sides by turns, with a fresh server per run. Written to
results/scenarios/."""

import argparse
import subprocess
import tempfile
from pathlib import Path

import rig

MIB = 1 << 20
IDLE_COUNTS = [0, 1_000, 10_000]
ACTIVE_COUNTS = [10, 1_000, 10_000]
CYCLE_COUNT = 50_000
CYCLE_REPEATS = 4


def start(subject):
    if subject == "floor":
        return rig.Server("loadgen", "relay")
    return rig.Server("broker", "--shards", "1")


def url(subject, server):
    return f"relay://{server.address}" if subject == "floor" else server.url


def call(subject, server, *arguments, options):
    """loadgen's figures, with the server's processor time per call while they were measured."""
    report = rig.loadgen("rpc", "--url", url(subject, server), "--duration", options.duration,
                         "--warmup", options.warmup, "--server-pid", str(server.pid), *arguments)
    figures = rig.figures(report)
    figures["cpu_us_per_call"] = report["server_processor"]["us_per_call"]
    figures["verdict"] = report["health"]["verdict"]
    return figures


def rounds(name, sides, options):
    """Every side once per round; `sides` maps a name to what makes its figures."""
    runs = []
    for number in range(options.rounds):
        for side, measure in sides.items():
            runs.append({"scenario": name, "round": number, "side": side, **measure()})
            print(f"{number + 1}/{options.rounds} {runs[-1]}", flush=True)
    return runs


def of(runs, side, key):
    return [run[key] for run in runs if run["side"] == side]


def ratio(runs, side, base, key):
    pairs = zip(of(runs, side, key), of(runs, base, key), strict=True)
    return rig.spread([one / other for one, other in pairs])


def figure_rows(runs, base):
    rows = []
    for side in dict.fromkeys(run["side"] for run in runs):
        median = rig.medians([run for run in runs if run["side"] == side],
                             ["calls_per_s", "p50_us", "p99_us", "cpu_us_per_call"])
        rows.append([side, *rig.figure_cells(median)])
        if side != base:
            rows.append([f"… / {base}", *(ratio(runs, side, base, key) for key in
                                          ("calls_per_s", "p50_us", "p99_us", "cpu_us_per_call"))])
    return rig.table(["", *rig.FIGURE_NAMES], rows)


def large_replies(options):
    def side(subject):
        def measure():
            with start(subject) as server:
                return call(subject, server, "--requesters", "4", "--workers", "4",
                            "--size", str(MIB), options=options)
        return measure

    runs = rounds("large", {"floor": side("floor"), "Rondo": side("Rondo")}, options)
    return runs, ["## 1 MiB requests and replies", "",
                  "Closed loop, 4 x 4 x 1. Aim: calls/s (so bytes/s) at least 0.7 x the floor's.",
                  "", *figure_rows(runs, "floor")]


def beside_large(options):
    small = ["--requesters", "4", "--workers", "4", "--rate", "4000"]

    def side(subject, has_large):
        def measure():
            with start(subject) as server, tempfile.TemporaryDirectory() as folder:
                large = None
                if has_large:
                    command = [rig.binary("loadgen"), "rpc", "--url", url(subject, server),
                               "--requesters", "1", "--workers", "1", "--size", str(MIB),
                               "--rate", str(options.large_rate), "--duration", "60s", "--quiet",
                               "--json", str(Path(folder) / "large.json")]
                    large = subprocess.Popen(command, stdout=subprocess.DEVNULL,
                                             stderr=subprocess.DEVNULL)
                try:
                    return call(subject, server, *small, options=options)
                finally:
                    if large is not None:
                        large.terminate()
                        large.wait(20)
        return measure

    sides = {"Rondo, alone": side("Rondo", False), "Rondo, beside": side("Rondo", True),
             "floor, alone": side("floor", False), "floor, beside": side("floor", True)}
    runs = rounds("beside", sides, options)
    rows = []
    for name in sides:
        median = rig.medians([run for run in runs if run["side"] == name],
                             ["calls_per_s", "p50_us", "p99_us", "cpu_us_per_call"])
        rows.append([name, *rig.figure_cells(median)])
    for subject in ("Rondo", "floor"):
        cells = [ratio(runs, f"{subject}, beside", f"{subject}, alone", key)
                 for key in ("calls_per_s", "p50_us", "p99_us")]
        rows.append([f"{subject}: beside / alone", *cells, ""])
    return runs, [
        "## Small calls beside a stream of 1 MiB calls", "",
        f"4,000 calls/s of 64 octets over 4 x 4 connections, alone and beside {options.large_rate} "
        "calls/s of 1 MiB on a connection of their own, from a second loadgen: two generators and "
        "the server share the cores, so the floor shows what the machine itself does to the p99. "
        "Aim: beside / alone at most 3 x.", "",
        *rig.table(["", *rig.FIGURE_NAMES], rows)]


def idle_beside(options):
    def side(count):
        def measure():
            with start("Rondo") as server:
                return call("Rondo", server, "--requesters", "5", "--workers", "5",
                            "--rate", "5000", "--idle", str(count), options=options)
        return measure

    sides = {f"{count:,} idle": side(count) for count in IDLE_COUNTS}
    runs = rounds("idle", sides, options)
    return runs, ["## Idle connections beside the load", "",
                  "5,000 calls/s over 5 x 5 connections, beside idle ones. Aim: CPU per call flat within 10 %.",
                  "", *figure_rows(runs, "0 idle")]


def many_active(options):
    def side(count):
        half = str(count // 2)

        def measure():
            with start("Rondo") as server:
                return call("Rondo", server, "--requesters", half, "--workers", half,
                            "--rate", "5000", "--in-flight", "16", options=options)
        return measure

    sides = {f"{count:,} connections": side(count) for count in ACTIVE_COUNTS}
    runs = rounds("active", sides, options)
    return runs, ["## The same load over more connections", "",
                  "5,000 calls/s spread evenly. Aim: CPU per call flat within 10 %.",
                  "", *figure_rows(runs, f"{ACTIVE_COUNTS[0]:,} connections")]


def queue_per_call(options):
    runs = []
    for shards in (1, 2):
        with rig.Server("broker", "--shards", str(shards)) as server:
            for repeat in range(CYCLE_REPEATS):
                before = server.cpu_s()
                report = rig.loadgen(
                    "rpc", "--url", server.url, "--requesters", "4", "--workers", "4",
                    "--in-flight", "16", "--calls", str(CYCLE_COUNT), "--reply", "queue-per-call")
                figures = rig.figures(report)
                cpu_us = (server.cpu_s() - before) * 1e6 / figures["calls_with_warmup"]
                runs.append({"scenario": "queue-per-call", "side": f"{shards} shards",
                             "round": repeat, **figures, "cpu_us_per_call": cpu_us,
                             "rss_b": server.memory_b()["rss"]})
                print(runs[-1], flush=True)
    rows = [[run["side"], run["round"] + 1, f"{run['calls_per_s']:,.0f}",
             f"{run['cpu_us_per_call']:.2f}", f"{run['rss_b'] / MIB:.1f}"] for run in runs]
    return runs, ["## A callback queue per call", "",
                  f"{CYCLE_COUNT:,} times: declare an exclusive queue, consume, call, get the "
                  "reply, delete; then again on the same broker. Aim: at least 10,000 a second, no "
                  "growth of memory from one to the next.", "",
                  *rig.table(["", "time", "cycles/s", "CPU µs per cycle", "RSS MiB"], rows)]


def split_with_nagle(options):
    def side(*arguments):
        def measure():
            with start("Rondo") as server:
                return call("Rondo", server, "--requesters", "16", "--workers", "16", *arguments,
                            options=options)
        return measure

    sides = {"whole, no delay": side(), "3 pieces, no delay": side("--split", "3"),
             "3 pieces, Nagle on": side("--split", "3", "--nagle")}
    runs = rounds("split", sides, options)
    return runs, ["## Messages split by clients", "",
                  "Closed loop, 16 x 16 x 1; requests and replies written in three pieces. Aim: "
                  "p99 below 2 ms with Nagle on.", "", *figure_rows(runs, "whole, no delay")]


SCENARIOS = {
    "large": large_replies,
    "beside": beside_large,
    "idle": idle_beside,
    "active": many_active,
    "queue-per-call": queue_per_call,
    "split": split_with_nagle,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--duration", default="2s")
    parser.add_argument("--warmup", default="500ms")
    parser.add_argument("--large-rate", type=int, default=50, help="1 MiB calls/s beside small")
    parser.add_argument("--only", choices=SCENARIOS, action="append")
    options = parser.parse_args()
    rig.raise_nofile()
    runs, lines = [], []
    for name in options.only or SCENARIOS:
        found, told = SCENARIOS[name](options)
        runs += found
        lines += [*told, ""]
    about = rig.facts("make bench-scenarios")
    head = rig.header("Calls in less usual company", about)
    head += [
        f"One shard if not said otherwise; {options.rounds} interleaved rounds of "
        f"{options.duration} after {options.warmup} of warm-up, medians; a ratio is the median of "
        "the rounds' own, with the least and the most. CPU is the server's own.", "",
    ]
    rig.write_results("scenarios", head + lines[:-1], {**about, "runs": runs})


if __name__ == "__main__":
    main()
