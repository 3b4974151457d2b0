#!/usr/bin/env python3
"""Whole calls through the engine in memory, without sockets: runs the criterion bench `call` and
writes its estimates to results/engine/."""

import re
import subprocess
import sys

import rig

COMMAND = ["cargo", "bench", "--locked", "-p", "benches", "--bench", "call"]
TIME = re.compile(r"^(?P<name>call/.*?)?\s*time:\s+\[(?P<low>.+?s) (?P<mid>.+?s) (?P<high>.+?s)\]")
NANOSECONDS = {"ns": 1.0, "µs": 1e3, "us": 1e3, "ms": 1e6, "s": 1e9}


def nanoseconds(text):
    number, unit = text.split()
    return float(number) * NANOSECONDS[unit]


def measure():
    """One row per bench: criterion prints a long name on the line above its figures."""
    rows, name = [], ""
    with subprocess.Popen(COMMAND, cwd=rig.ROOT, stdout=subprocess.PIPE, text=True) as bench:
        for line in bench.stdout:
            print(line, end="", flush=True)
            found = TIME.match(line)
            if found:
                name = (found["name"] or name).strip()
                calls = 16 if name.endswith("16 per turn") else 1
                low, mid, high = (nanoseconds(found[key]) / calls for key in ("low", "mid", "high"))
                rows.append({"name": name.removeprefix("call/"), "ns_per_call": mid,
                             "ns_per_call_low": low, "ns_per_call_high": high})
            elif line.startswith("call/"):
                name = line.strip()
    if bench.returncode != 0:
        sys.exit(bench.returncode)
    return rows


def report(rows, about):
    lines = rig.header("One call through the engine, in memory", about)
    lines += [
        "A call is a publish, its delivery to the worker, the reply's publish and its delivery to "
        "the requester: octets in, octets out, no sockets. Criterion's estimate and its 95 % "
        "confidence interval.",
        "",
    ]
    cells = [
        [row["name"], f"{row['ns_per_call']:,.0f}",
         f"{row['ns_per_call_low']:,.0f} … {row['ns_per_call_high']:,.0f}"]
        for row in rows
    ]
    return lines + rig.table(["call", "ns per call", "interval"], cells)


def main():
    rows = measure()
    about = rig.facts("make bench")
    rig.write_results("engine", report(rows, about), {**about, "runs": rows})


if __name__ == "__main__":
    main()
