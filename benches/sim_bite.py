#!/usr/bin/env python3
"""Does the simulator bite? Builds it around an engine with a deliberate bug, for each of those in
sim/bugs.toml, and counts the seeds until it notices; then runs the engine as it is.

Written to results/sim/. The bugs are made in a copy of the committed tree."""

import argparse
import os
import re
import shutil
import subprocess
import time
import tomllib

import rig

FAILURE = re.compile(r"^seed (\d+) FAILED in step \d+: (.*)$", re.MULTILINE)
SUMMARY = re.compile(r"^(\d+) seeds, (\d+) failed; (\d+) seeds/s.*\nTally \{ (.*) \}", re.MULTILINE)


def copy_tree(folder):
    """The committed tree, so that a bug never touches the one people work in."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    archive = subprocess.run(
        ["git", "archive", "HEAD"], cwd=rig.ROOT, check=True, capture_output=True
    )
    subprocess.run(["tar", "x"], cwd=folder, check=True, input=archive.stdout)


def build(tree):
    """Errors: the bug does not compile."""
    target = rig.target_folder() / "bite" / "target"
    built = subprocess.run(
        ["cargo", "build", "--quiet", "--locked", "--profile=sim", "--package=sim"],
        cwd=tree, env={**os.environ, "CARGO_TARGET_DIR": str(target)},
        capture_output=True, text=True,
    )
    if built.returncode:
        raise SystemExit(f"the bug does not compile:\n{built.stderr}")
    return target / "sim" / "sim"


def run_seeds(binary, count):
    done = subprocess.run(
        [binary, "--from=0", f"--seeds={count}", "--no-shrink"],
        capture_output=True, text=True, timeout=1800,
    )
    return done.stdout


def find(bug, tree, seed_count):
    """The first seed that fails, and how."""
    path = tree / bug["file"]
    text = path.read_text()
    if text.count(bug["find"]) != 1:
        raise SystemExit(f"sim/bugs.toml: '{bug['name']}' fits {bug['file']} no more")
    path.write_text(text.replace(bug["find"], bug["replace"]))
    try:
        failures = FAILURE.findall(run_seeds(build(tree), seed_count))
    finally:
        path.write_text(text)
    if not failures:
        return None
    seed, what = min(failures, key=lambda failure: int(failure[0]))
    return int(seed) + 1, what


def shorten(text):
    text = re.sub(r"Place \{ conn: (\d+), channel: (\d+), epoch: (\d+) \}", r"c\1/\2", text)
    return text[:90].replace("|", "\\|")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20_000, help="per bug, at most")
    parser.add_argument("--clean-seeds", type=int, default=100_000, help="without a bug")
    arguments = parser.parse_args()
    about = rig.facts("make sim-bite")
    with (rig.ROOT / "sim" / "bugs.toml").open("rb") as file:
        bugs = tomllib.load(file)["bug"]
    tree = rig.target_folder() / "bite" / "tree"
    copy_tree(tree)
    rows, record = [], []
    for bug in bugs:
        began = time.monotonic()
        found = find(bug, tree, arguments.seeds)
        seeds, what = found or (None, None)
        record.append({"bug": bug["name"], "seeds": seeds, "found_as": what})
        rows.append([
            bug["name"], f"{seeds:,}" if found else f"**not in {arguments.seeds:,}**",
            shorten(what) if found else "",
        ])
        print(f"{bug['name']}: {seeds} ({time.monotonic() - began:.0f} s)", flush=True)
    summary = SUMMARY.search(run_seeds(build(tree), arguments.clean_seeds))
    if summary is None:
        raise SystemExit("the simulator printed no summary")
    seeds, failed, rate = map(int, summary.groups()[:3])
    tally = {name: int(count) for name, count in re.findall(r"(\w+): (\d+)", summary[4])}
    lines = rig.header("Does the simulator bite?", about) + [
        f"The engine as it is: {seeds:,} seeds (from 0), {failed} failed; {rate:,} seeds/s "
        f"on {about['cores']} cores. In these lives:",
        "",
        *rig.table(["what", "count"], [
            [name.replace("_", " "), f"{count:,}"] for name, count in tally.items()
        ]),
        "",
        "Deliberate bugs (`sim/bugs.toml`), and how many seeds it takes, from 0 on, until one of "
        "them fails:",
        "",
        *rig.table(["bug", "seeds", "found as"], rows),
    ]
    clean = {"seeds": seeds, "failed": failed, "seeds_per_s": rate, "tally": tally}
    rig.write_results("sim", lines, {**about, "clean": clean, "bugs": record})
    missed = [row for row in record if row["seeds"] is None]
    if missed or failed:
        raise SystemExit(f"{len(missed)} bugs were not found, {failed} seeds failed")


if __name__ == "__main__":
    main()
