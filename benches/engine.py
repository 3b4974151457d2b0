#!/usr/bin/env python3
"""The engine's parts and whole calls through it, in memory, without sockets: runs the criterion
benches and writes their estimates to results/engine/."""

import re
import subprocess
import sys

import instructions
import rig

COMMAND = ["cargo", "bench", "--locked", "-p", "benches", "--bench", "engine"]
TIME = re.compile(r"time:\s+\[(?P<low>.+?s) (?P<mid>.+?s) (?P<high>.+?s)\]")
NANOSECONDS = {"ns": 1.0, "µs": 1e3, "us": 1e3, "ms": 1e6, "s": 1e9}
SUBJECTS = {
    "call": "Calls: a publish, its delivery to the worker, the reply's publish and its delivery to "
    "the requester: octets in, octets out. Two shards take turns on one thread.",
    "frame": "Frames: the splitter, on the three frames of a publish.",
    "header": "Content headers: the walk that checks the property list.",
    "publish": "Publishes: one publish and its delivery, through each type of exchange, of whose "
    "bindings one matches.",
    "routing": "Routing alone: from a key to one queue in the middle; fanout reaches all.",
    "queue": "Queues: messages that wait or are handed out.",
    "mailbox": "Mailboxes between shards: one mail, one direction; there and back with two "
    "threads that never sleep.",
}


def nanoseconds(text):
    number, unit = text.split()
    return float(number) * NANOSECONDS[unit]


def estimates(lines, names):
    """(name, low, middle, high) in nanoseconds for each of criterion's figures: a long name
    stands on the line above them, a short one in front of them."""
    name = None
    for line in lines:
        left = line.partition("time:")[0].strip()
        name = left if left in names else name
        if found := TIME.search(line):
            yield name, *(nanoseconds(found[key]) for key in ("low", "mid", "high"))


def printed(lines):
    for line in lines:
        print(line, end="", flush=True)
        yield line


def measure():
    cases = instructions.listed(instructions.build())
    rows = []
    with subprocess.Popen(COMMAND, cwd=rig.ROOT, stdout=subprocess.PIPE, text=True) as bench:
        for name, *figures in estimates(printed(bench.stdout), cases):
            low, mid, high = (round(figure / cases[name].count, 2) for figure in figures)
            rows.append({"name": name, "ns": mid, "ns_low": low, "ns_high": high})
    if bench.returncode != 0:
        sys.exit(bench.returncode)
    return rows


def digits(figure):
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:,.1f}"


def report(rows, about):
    lines = rig.header("The engine in memory", about)
    lines += ["Criterion's estimate of the time for one, and its 95 % confidence interval."]
    for subject, said in SUBJECTS.items():
        cells = [
            [row["name"].removeprefix(f"{subject}/"), digits(row["ns"]),
             f"{digits(row['ns_low'])} … {digits(row['ns_high'])}"]
            for row in rows
            if row["name"].startswith(f"{subject}/")
        ]
        lines += ["", said, "", *rig.table([subject, "ns", "interval"], cells)]
    return lines


def main():
    rows = measure()
    about = rig.facts("make bench")
    rig.write_results("engine", report(rows, about), {**about, "runs": rows})


if __name__ == "__main__":
    main()
