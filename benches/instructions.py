#!/usr/bin/env python3
"""Instructions per call, counted by callgrind: a figure that neither a busy machine nor a fast one
changes. Writes results/instructions/, or compares with what is written there (--check).

The count depends on what the compiler made, so only figures of one toolchain are compared; and on
which memcpy the C library picks for the processor, so it is told to take the plain one."""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import rig

TABLE = rig.ROOT / "results" / "instructions" / "runs.json"
STEPS = 1_000
COUNTED = "*steps_counted_by_callgrind*"
# A case is worse if it needs more than both allow: of a dozen instructions, one is many per cent.
TOLERANCE = 0.03
TOLERANCE_INSTRUCTIONS = 3
BUILD = ["cargo", "bench", "--locked", "-p", "benches", "--bench", "engine", "--no-run"]
# Nothing of the user's may matter: no allocator settings, no ~/.valgrindrc, no wide registers.
ENVIRONMENT = {
    "PATH": os.environ.get("PATH", ""),
    "HOME": "/nonexistent",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX_Fast_Unaligned_Load,-AVX2,-AVX512F,-AVX512VL,"
    "-ERMS,-FSRM",
}


def build():
    """The path of the bench binary, built if need be."""
    command = [*BUILD, "--message-format=json-render-diagnostics"]
    done = subprocess.run(command, cwd=rig.ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(done.returncode)
    return executable(done.stdout.splitlines())


def executable(messages):
    """The bench binary's path among cargo's messages."""
    for message in map(json.loads, messages):
        if message.get("executable") and message["target"]["name"] == "engine":
            return message["executable"]
    sys.exit("cargo named no bench binary")


class Case(NamedTuple):
    # How many calls (or the like) one step makes.
    count: int
    is_counted: bool


def listed(binary):
    """All cases by name."""
    done = subprocess.run([binary, "list"], stdout=subprocess.PIPE, text=True, check=True)
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    return {name: Case(int(count), is_counted == "counted") for name, count, is_counted in lines}


def callgrind(binary, name, out):
    command = [
        "valgrind", "--tool=callgrind", f"--toggle-collect={COUNTED}",
        f"--callgrind-out-file={out}", binary, "count", name, str(STEPS),
    ]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{name} failed under callgrind:\n{done.stdout}{done.stderr}")


def total(callgrind_out):
    """Instructions in callgrind's output, or 0 if it collected nothing."""
    found = re.search(r"^(?:summary|totals): (\d+)$", callgrind_out, re.MULTILINE)
    return int(found[1]) if found else 0


def count(binary, name, per_step):
    """Instructions for one of what the case does."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind.out"
        callgrind(binary, name, out)
        instructions = total(out.read_text())
    if instructions == 0:
        sys.exit(f"{name}: callgrind saw no function {COUNTED}")
    return round(instructions / (STEPS * per_step), 1)


def count_all(binary):
    counts = {name: case.count for name, case in listed(binary).items() if case.is_counted}
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        figures = pool.map(lambda item: count(binary, *item), counts.items())
        return dict(zip(counts, figures))


def toolchain():
    """What decides which instructions there are; equal, or figures are not comparable."""
    rustc = subprocess.run(["rustc", "-vV"], cwd=rig.ROOT, stdout=subprocess.PIPE, text=True)
    said = dict(line.split(": ", 1) for line in rustc.stdout.splitlines() if ": " in line)
    return {
        "rustc": said["release"],
        "llvm": said["LLVM version"],
        "target": said["host"],
        "rustflags": os.environ.get("RUSTFLAGS", ""),
        "libc": " ".join(platform.libc_ver()),
    }


def compare(old, new):
    """One row per case: name, old, new, verdict. Cases are by name, figures instructions."""
    rows = []
    for name in [*old, *(name for name in new if name not in old)]:
        before, after = old.get(name), new.get(name)
        rows.append((name, before, after, verdict(before, after)))
    return rows


def verdict(before, after):
    if before is None:
        return "new"
    if after is None:
        return "GONE"
    allowed = max(before * TOLERANCE, TOLERANCE_INSTRUCTIONS)
    if after > before + allowed:
        return "WORSE"
    return "better" if after < before - allowed else ""


def differences(old, new):
    """Parts of the toolchain that are not those of the table, in words."""
    parts = dict.fromkeys([*old, *new])
    return [
        f"{part} {new.get(part) or 'none'} (table: {old.get(part) or 'none'})"
        for part in parts
        if old.get(part) != new.get(part)
    ]


def print_rows(rows):
    width = max(len(name) for name, *_ in rows)
    print(f"{'':{width}} {'table':>10} {'now':>10} {'ratio':>7}")
    for name, before, after, said in rows:
        ratio = f"{after / before:.3f}" if before and after else ""
        old, new = (f"{figure:,.1f}" if figure else "-" for figure in (before, after))
        print(f"{name:{width}} {old:>10} {new:>10} {ratio:>7} {said}")


def check(binary):
    """Compares with the table; the exit code."""
    if not TABLE.exists():
        sys.exit("no table yet: run `make bench-instructions`")
    table = json.loads(TABLE.read_text())
    old = {run["name"]: run["instructions"] for run in table["runs"]}
    rows = compare(old, count_all(binary))
    print(f"instructions per call; table of commit {table['commit']}, {table['date']}\n")
    print_rows(rows)
    print()
    others = differences(table["toolchain"], toolchain())
    code, said = judge(rows, others)
    print(said)
    print("`make bench-instructions` rewrites the table.")
    return code


def judge(rows, others):
    """Exit code and the sentence that explains it; `others`: what the toolchain differs in."""
    failed = [name for name, _, _, said in rows if said in ("WORSE", "GONE")]
    beyond = f"by more than {TOLERANCE:.0%} and {TOLERANCE_INSTRUCTIONS} instructions"
    if others:
        return 0, f"Only a report: not the table's toolchain, but {'; '.join(others)}."
    if failed:
        return 1, f"{len(failed)} gone or worse {beyond}: {'; '.join(failed)}"
    if any(said for *_, said in rows):
        return 0, "Nothing is worse, but the table no longer says what is true."
    return 0, f"Nothing is worse {beyond}."


def report(rows, about):
    lines = rig.header("Instructions per call", about)
    parts = about["toolchain"]
    valgrind = about["valgrind"]
    lines += [
        f"Counted by {valgrind}; rustc {parts['rustc']} for {parts['target']}, {parts['libc']}, "
        f"rustflags {parts['rustflags'] or 'none'}. Each figure is one call (one split, one walk, "
        f"one routing, one hop), the mean of {STEPS:,} steps after the buffers have grown. "
        "In memory, without sockets. How fast or busy the machine is does not matter; the "
        "toolchain does.",
        "",
        f"`make bench-check` counts again and fails if a figure has grown by more than "
        f"{TOLERANCE:.0%} and {TOLERANCE_INSTRUCTIONS} instructions; `make bench-instructions` "
        "writes this table.",
        "",
    ]
    cells = [[name, f"{figure:,.1f}"] for name, figure in rows.items()]
    return lines + rig.table(["case", "instructions"], cells)


def write(binary):
    rows = count_all(binary)
    version = subprocess.run(["valgrind", "--version"], stdout=subprocess.PIPE, text=True)
    about = {
        **rig.facts("make bench-instructions"),
        "toolchain": toolchain(),
        "valgrind": version.stdout.strip(),
    }
    runs = [{"name": name, "instructions": figure} for name, figure in rows.items()]
    rig.write_results("instructions", report(rows, about), {**about, "runs": runs})


def functions(binary, name, shown):
    """Where the instructions of one case are, by the function that has them itself."""
    cases = listed(binary)
    if name not in cases:
        sys.exit("no such case; there are:\n" + "\n".join(cases))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind.out"
        callgrind(binary, name, out)
        annotated = subprocess.run(
            ["callgrind_annotate", "--auto=no", "--threshold=100", str(out)],
            capture_output=True, text=True, check=True,
        )
    calls = STEPS * cases[name].count
    for instructions, function in by_function(annotated.stdout)[:shown]:
        print(f"{instructions / calls:10.1f}  {function}")


def by_function(annotated):
    """(instructions, function) in callgrind_annotate's list, most first; what is inlined counts
    where it ended up."""
    sums = {}
    for line in annotated.splitlines():
        found = re.match(r"\s*([\d,]+) \([^)]*%\)\s+\S*?:(.+?)(?: \[[^\]]*\])?$", line)
        if found:
            function = re.sub(r"::h[0-9a-f]{16}", "", found[2])
            sums[function] = sums.get(function, 0) + int(found[1].replace(",", ""))
    return sorted(((figure, name) for name, figure in sums.items()), reverse=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the table")
    parser.add_argument("--functions", metavar="CASE", help="where one case has its instructions")
    parser.add_argument("--shown", type=int, default=25, help="how many functions")
    options = parser.parse_args()
    if not shutil.which("valgrind"):
        sys.exit("missing: valgrind (Debian: apt-get install valgrind)")
    binary = build()
    if options.functions:
        functions(binary, options.functions, options.shown)
    elif options.check:
        sys.exit(check(binary))
    else:
        write(binary)


if __name__ == "__main__":
    main()
