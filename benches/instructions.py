#!/usr/bin/env python3
"""Instructions per operation of the engine in memory, counted by callgrind: a figure that does
not depend on how fast or how busy the machine is, only on the code and its compiler.

Without options: counts and writes results/instructions/. With --check: counts and compares with
what is committed there; fails if a case takes more instructions than the tolerance allows."""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import rig

TABLE = rig.ROOT / "results" / "instructions" / "table.json"
MEASURED = "*rondo_measured*"
COUNT = 200
# Beyond what hashing, buffer growth and the allocator's addresses may shift.
TOLERANCE = 0.03
COLLECTED = re.compile(r"Collected\s*:\s*(\d+)")


def build():
    """The bench binary, by cargo's own word."""
    command = ["cargo", "bench", "--locked", "-p", "benches", "--bench", "instructions",
               "--no-run", "--message-format=json"]
    done = subprocess.run(command, cwd=rig.ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(done.returncode)
    artifacts = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    found = [artifact["executable"] for artifact in artifacts
             if artifact.get("executable") and artifact["target"]["name"] == "instructions"]
    return found[-1]


def compiler():
    done = subprocess.run(["rustc", "--version"], cwd=rig.ROOT, capture_output=True, text=True)
    return done.stdout.strip()


def count(binary, case):
    """Instructions of one operation."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", f"--toggle-collect={MEASURED}",
                   f"--callgrind-out-file={Path(folder) / 'out'}", binary, case, str(COUNT)]
        done = subprocess.run(command, capture_output=True, text=True)
    return parse_collected(done.stderr, case) / COUNT


def parse_collected(text, case):
    """
    >>> parse_collected("==7== Collected : 1234\\n", "x")
    1234
    >>> parse_collected("==7== nothing", "x")
    Traceback (most recent call last):
    SystemExit: callgrind counted nothing for x:
    ==7== nothing
    """
    found = COLLECTED.search(text)
    if found is None or int(found.group(1)) == 0:
        sys.exit(f"callgrind counted nothing for {case}:\n{text}")
    return int(found.group(1))


def measure():
    binary = build()
    listed = subprocess.run([binary, "--list"], capture_output=True, text=True, check=True)
    counts = {}
    for case in listed.stdout.splitlines():
        counts[case] = count(binary, case)
        print(f"{counts[case]:10,.0f}  {case}", flush=True)
    return counts


def compare(old, new, tolerance):
    """Rows of (case, old, new, verdict) and whether all is well.

    >>> compare({"a": 100, "b": 100, "c": 5}, {"a": 102, "b": 110, "d": 7}, 0.03)[1]
    False
    >>> [row[3] for row in compare({"a": 100, "b": 100, "c": 5}, {"a": 90, "d": 7}, 0.03)[0]]
    ['better', 'gone', 'gone', 'new']
    >>> compare({"a": 100}, {"a": 103}, 0.03)
    ([('a', 100, 103, 'same')], True)
    """
    rows = []
    for case in [*old, *(case for case in new if case not in old)]:
        before, after = old.get(case), new.get(case)
        if before is None or after is None:
            verdict = "new" if before is None else "gone"
        elif after > before * (1 + tolerance):
            verdict = "WORSE"
        else:
            verdict = "better" if after < before * (1 - tolerance) else "same"
        rows.append((case, before, after, verdict))
    return rows, all(row[3] not in ("WORSE", "gone") for row in rows)


def cell(value):
    return "" if value is None else f"{value:,.0f}"


def check():
    if not TABLE.exists():
        sys.exit("results/instructions/table.json is missing: run `make bench-instructions`")
    kept = json.loads(TABLE.read_text())
    rows, is_fine = compare(kept["instructions"], measure(), TOLERANCE)
    print()
    for case, before, after, verdict in rows:
        ratio = f"{after / before:.3f}" if before and after else ""
        print(f"{cell(before):>10} {cell(after):>10} {ratio:>6} {verdict:7} {case}")
    if kept["compiler"] != compiler():
        print(f"\ncounted by {kept['compiler']}, this is {compiler()}: told, not judged")
        return 0
    if not is_fine:
        print(f"\nmore than {TOLERANCE:.0%} worse: find out why, or say why in the commit that "
              "rewrites the table (make bench-instructions)")
    return 0 if is_fine else 1


def write():
    counts = measure()
    about = rig.facts("make bench-instructions")
    lines = rig.header("Instructions per operation", about)
    lines += [
        f"Counted by callgrind over {COUNT} operations after a warm-up, {compiler()}, release "
        "profile. A call is a publish, its delivery to the worker, the reply's publish and its "
        "delivery to the requester: octets in, octets out, in memory. `make bench-check` compares "
        f"with this table and allows {TOLERANCE:.0%}.",
        "",
    ]
    lines += rig.table(["operation", "instructions"],
                       [[case, cell(number)] for case, number in counts.items()])
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    record = {**about, "compiler": compiler(), "instructions": counts}
    TABLE.write_text(json.dumps(record, indent=1) + "\n")
    (TABLE.parent / "report.md").write_text("\n".join(lines) + "\n")
    print("\nwritten to results/instructions/")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the committed table")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        sys.exit("missing: valgrind (Debian: apt-get install valgrind)")
    sys.exit(check() if options.check else write())


if __name__ == "__main__":
    main()
