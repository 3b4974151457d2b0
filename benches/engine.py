#!/usr/bin/env python3
"""The engine in memory, without sockets: runs the criterion benches and writes their estimates to
results/engine/."""

import re
import subprocess
import sys

import rig

BENCHES = ["call", "wire", "routing", "queue", "mailbox"]
COMMAND = ["cargo", "bench", "--locked", "-p", "benches"]
COMMAND += [word for bench in BENCHES for word in ("--bench", bench)]
NAMES = "|".join(BENCHES)
TIME = re.compile(rf"^(?P<name>(?:{NAMES})/.*?)?\s*time:\s+\[(?P<low>.+?s) (?P<mid>.+?s) (?P<high>.+?s)\]")
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
                rows.append({"name": name, "ns": mid, "ns_low": low, "ns_high": high})
            elif line.startswith(tuple(f"{bench}/" for bench in BENCHES)):
                name = line.strip()
    if bench.returncode != 0:
        sys.exit(bench.returncode)
    return rows


def report(rows, about):
    lines = rig.header("The engine in memory", about)
    lines += [
        "Octets in, octets out, no sockets; criterion's estimate and its 95 % confidence interval. "
        "A call is a publish, its delivery to the worker, the reply's publish and its delivery to "
        "the requester. Routing and queue rows are one publish and the delivery of its message.",
        "",
    ]
    for bench in BENCHES:
        cells = [
            [row["name"].partition("/")[2], f"{row['ns']:,.1f}",
             f"{row['ns_low']:,.1f} … {row['ns_high']:,.1f}"]
            for row in rows if row["name"].startswith(f"{bench}/")
        ]
        lines += [f"## {bench}", "", *rig.table(["", "ns", "interval"], cells), ""]
    return lines[:-1]


def main():
    rows = measure()
    about = rig.facts("make bench")
    rig.write_results("engine", report(rows, about), {**about, "runs": rows})


if __name__ == "__main__":
    main()
