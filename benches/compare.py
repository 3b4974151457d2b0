#!/usr/bin/env python3
"""Rondo beside its peers and the floor: same loads, same minutes, by turns.

Every server is started once, on loopback, with the settings that `peers.py` names, and stays up;
then the loads go round: each subject in turn for each load, all loads in each round. The figures
are loadgen's, the processor time is that of the server's process. Written to results/compare/."""

import argparse
import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import chart
import peers
import rig

# Closed loop: requesters, workers, calls in flight per requester.
LOADS = [(1, 1, 1), (16, 16, 1), (64, 64, 1), (16, 16, 16)]
# Open loop, Poisson arrivals over 16 requesters and 16 workers: calls/s asked for.
RATES = [1_000, 4_000, 16_000, 32_000, 64_000]
# A subject that returns less than this share of what is asked for is asked for no more.
RATE_REACHED = 0.95
KEYS = ["calls_per_s", "p50_us", "p99_us", "cpu_us_per_call"]
FIGURES = [
    ("calls/s", "calls_per_s", "{:,.0f}"),
    ("p50 µs", "p50_us", "{:,.1f}"),
    ("p99 µs", "p99_us", "{:,.1f}"),
    ("CPU µs per call", "cpu_us_per_call", "{:.2f}"),
]
OWN = "Rondo, 1 shard"
FLOOR = "floor"
HEADLINE = "16x16x1"
README_BEGIN = "<!-- figures: written by make compare -->\n"
README_END = "<!-- end of figures -->\n"
OUT = rig.ROOT / "results" / "compare"


class Subject:
    """A running server and how it is called."""

    def __init__(self, name, url, pid, settings):
        self.name = name
        self.url = url
        self.pid = pid
        self.settings = settings
        self.is_saturated = False


def start_all(options, stack):
    """The subjects, in the order of the tables, and the names of those left out."""
    own = [
        (FLOOR, rig.Server("loadgen", "relay"), "`loadgen relay`: copies octets, one thread"),
        ("Rondo", rig.Server("broker"), "defaults: one shard per core"),
        (OWN, rig.Server("broker", "--shards", "1"), "defaults but `--shards 1`"),
    ]
    subjects = []
    for name, server, settings in own:
        stack.enter_context(server)
        url = f"relay://{server.address}" if name == FLOOR else server.url
        subjects.append(Subject(name, url, server.process.pid, settings))
    lacking = peers.missing(["RabbitMQ", "NATS"])
    for name, peer in (("NATS", peers.Nats), ("RabbitMQ", peers.RabbitMq)):
        if name not in lacking:
            server = stack.enter_context(peer())
            subjects.append(Subject(name, server.url, server.pid, peer.settings))
    if options.lavinmq_url:
        settings = "as it was started by whoever runs it"
        subjects.append(Subject("LavinMQ", options.lavinmq_url, None, settings))
    else:
        lacking.append("LavinMQ (no --lavinmq-url)")
    return subjects, lacking


def one_run(subject, load, rate, options):
    """One row of runs.json, or None if the run was not clean: a peer may fail under overload."""
    requesters, workers, in_flight = (str(number) for number in load)
    arguments = ["--requesters", requesters, "--workers", workers, "--size", "64",
                 "--duration", options.duration, "--warmup", options.warmup]
    name = rig.load_name(load)
    if rate is None:
        arguments += ["--in-flight", in_flight]
    else:
        arguments += ["--rate", str(rate), "--arrival", "poisson"]
        name = f"16x16 at {rate}/s"
    if subject.pid is not None:
        arguments += ["--server-pid", str(subject.pid)]
    with tempfile.TemporaryDirectory() as folder:
        json_file, hgrm = Path(folder) / "report.json", Path(folder) / "run.hgrm"
        command = [rig.binary("loadgen"), "rpc", "--url", subject.url, *arguments, "--quiet",
                   "--json", str(json_file), "--hgrm", str(hgrm)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180)
        if done.returncode != 0:
            print(f"{subject.name}, {name}: not clean:\n{done.stderr}", file=sys.stderr)
            return None
        report = json.loads(json_file.read_text())
        processor = report["server_processor"] or {}
        return {
            "subject": subject.name,
            "server": report["server"],
            "load": name,
            "rate": rate,
            **rig.figures(report),
            "cpu_us_per_call": processor.get("us_per_call"),
            "verdict": report["health"]["verdict"],
            "hgrm": hgrm.read_text(),
        }


def measure(subjects, options):
    runs, failures = [], []
    plan = [(load, None) for load in LOADS] + [((16, 16, 1), rate) for rate in options.rates]
    for number in range(options.rounds):
        for load, rate in plan:
            for subject in subjects:
                if rate is not None and subject.is_saturated:
                    continue
                run = one_run(subject, load, rate, options)
                if run is None:
                    failures.append(f"{subject.name} at {load} {rate or ''}")
                    continue
                runs.append({"round": number, **run})
                print(f"{number + 1}/{options.rounds} {subject.name:15} {run['load']:18} "
                      f"{run['calls_per_s']:12,.0f}/s  p50 {run['p50_us']:9,.1f}  "
                      f"p99 {run['p99_us']:11,.1f}", flush=True)
                if rate is not None and run["calls_per_s"] < RATE_REACHED * rate:
                    subject.is_saturated = True
    return runs, failures


def of(runs, load, subject):
    return [run for run in runs if run["load"] == load and run["subject"] == subject]


def ratio_cell(runs, load, subject, base, key):
    """The median of the rounds' ratios, with the least and the most."""
    theirs = {run["round"]: run[key] for run in of(runs, load, base)}
    ratios = [run[key] / theirs[run["round"]] for run in of(runs, load, subject)
              if run[key] and theirs.get(run["round"])]
    if not ratios:
        return ""
    return f"{statistics.median(ratios):.2f} x ({min(ratios):.2f}–{max(ratios):.2f})"


def median_cell(rows, key, form):
    values = [row[key] for row in rows if row[key] is not None]
    return form.format(statistics.median(values)) if values else ""


def closed_tables(runs, names):
    lines = ["## Closed loop", ""]
    rows = []
    for load in map(rig.load_name, LOADS):
        for name in names:
            mine = of(runs, load, name)
            if mine:
                rows.append([load, name, *(median_cell(mine, key, form)
                                           for _, key, form in FIGURES)])
    lines += rig.table(["load", "", *(title for title, _, _ in FIGURES)], rows)
    lines += ["", f"## As a multiple of: {OWN} / each", "",
              "Medians of the rounds' own ratios, with the least and the most of them.", ""]
    rows = []
    for load in map(rig.load_name, LOADS):
        for name in names:
            if name != OWN and of(runs, load, name):
                rows.append([load, name, *(ratio_cell(runs, load, OWN, name, key)
                                           for _, key, _ in FIGURES)])
    return lines + rig.table(["load", "against", *(title for title, _, _ in FIGURES)], rows)


def open_table(runs, names, rates):
    lines = ["## Open loop: Poisson arrivals, latency from the intended start", ""]
    rows = []
    for rate in rates:
        for name in names:
            mine = of(runs, f"16x16 at {rate}/s", name)
            if mine:
                invalid = sum(run["verdict"] == "not-valid" for run in mine)
                note = f"{invalid} of {len(mine)} not valid: loadgen was late" if invalid else ""
                rows.append([f"{rate:,}", name, *(median_cell(mine, key, form)
                                                  for _, key, form in FIGURES), note])
    head = ["asked for", "", *(title for title, _, _ in FIGURES), ""]
    return lines + rig.table(head, rows)


def draw(runs, names, rates):
    groups = [rig.load_name(load) for load in LOADS]
    panels = []
    for (title, key, _), formatter in zip(
        FIGURES, [chart.short_number, chart.microseconds, chart.microseconds, chart.microseconds],
        strict=True,
    ):
        values = {}
        for load in groups:
            for name in names:
                mine = [run[key] for run in of(runs, load, name) if run[key] is not None]
                if mine:
                    values[load, name] = (statistics.median(mine), min(mine), max(mine))
        panels.append((title.replace(" µs", ""), formatter, values))
    chart.bars(OUT / "closed_loop.svg", [panels[0], panels[2], panels[3]], groups, names)
    curves = {}
    for name in names:
        points = []
        for rate in rates:
            mine = of(runs, f"16x16 at {rate}/s", name)
            if mine:
                points.append(tuple(statistics.median(run[key] for run in mine)
                                    for key in ("calls_per_s", "p50_us", "p99_us")))
        curves[name] = points
    chart.latency_by_rate(OUT / "latency_by_rate.svg",
                          "Latency by rate, Poisson arrivals, 16 requesters, 16 workers",
                          curves, names)


def keep_percentiles(runs, names):
    """The round with the median p99 of each, as HdrHistogram text, and a plot per closed load."""
    (OUT / "hgrm").mkdir(parents=True, exist_ok=True)
    for load in map(rig.load_name, LOADS):
        curves = {}
        for name in names:
            mine = sorted(of(runs, load, name), key=lambda run: run["p99_us"])
            if mine:
                text = mine[len(mine) // 2]["hgrm"]
                file = f"{load} {name}".lower().replace(",", "").replace(" ", "-")
                (OUT / "hgrm" / f"{file}.hgrm").write_text(text)
                curves[name] = parse_hgrm(text)
        chart.percentiles(OUT / f"percentiles-{load}.svg",
                          f"Latency by percentile, {load}", curves, names)


def parse_hgrm(text):
    rows = (line.split() for line in text.splitlines()[2:] if not line.startswith("#"))
    return [(float(row[1]), float(row[0])) for row in rows]


def versions(runs):
    found = {}
    for run in runs:
        if run["server"]:
            found[run["subject"]] = f"{run['server']['product']} {run['server']['version']}"
    return found


def report(runs, subjects, lacking, failures, about, options):
    names = [subject.name for subject in subjects]
    known = versions(runs)
    lines = rig.header("Rondo, its peers and the floor, side by side", about)
    lines += [
        f"{options.rounds} interleaved rounds of {options.duration} after {options.warmup} of "
        "warm-up; 64-octet bodies, direct reply-to (NATS: request-reply), auto-ack; loadgen "
        "shares the cores with the server, and in a closed loop it uses most of one, so calls/s "
        "differ less than the server's own processor time per call. The load is requesters x "
        "workers x calls in flight per requester.",
        "",
        "![closed loop](closed_loop.svg)",
        "",
        "![latency by rate](latency_by_rate.svg)",
        "",
        *closed_tables(runs, names),
        "",
        *open_table(runs, names, options.rates),
        "",
        "## Percentiles",
        "",
        "The round with the median p99 of each; as HdrHistogram text in `hgrm/`.",
        "",
        *(f"![{load}](percentiles-{load}.svg)" for load in map(rig.load_name, LOADS)),
        "",
        "## Settings",
        "",
        *rig.table(["", "version", "settings"], [
            [subject.name, known.get(subject.name, ""), subject.settings] for subject in subjects
        ]),
    ]
    if lacking:
        lines += ["", f"Left out, as not there: {', '.join(lacking)}."]
    if failures:
        lines += ["", f"Runs that were not clean, and are not in the tables: {len(failures)} "
                  f"({'; '.join(sorted(set(failures)))})."]
    return lines


def headline(runs, names, about):
    """The README's table: medians, and how much of the floor's each one reaches."""
    rows = []
    for load in map(rig.load_name, LOADS):
        for name in names:
            mine = of(runs, load, name)
            if mine:
                cells = [median_cell(mine, key, form) for _, key, form in FIGURES]
                rows.append([load.replace("x", "×"), name, *cells])
    changes = " with uncommitted changes" if about["uncommitted_changes"] else ""
    return [
        "![calls per second, p99 and processor time per call](results/compare/closed_loop.svg)",
        "",
        f"`{about['command']}` on {about['cores']} cores ({about['cpu']}) that the servers share "
        f"with loadgen, {about['date']}, commit {about['commit']}{changes}. The load is requesters "
        "× workers × calls in flight per requester; the floor is a relay that only copies octets. "
        "[All of it](results/compare/REPORT.md).",
        "",
        *rig.table(["load", "", *(title for title, _, _ in FIGURES)], rows),
    ]


def update_readme(lines):
    """What stands between the two marks is ours, and nothing else."""
    readme = rig.ROOT / "README.md"
    before, found, rest = readme.read_text().partition(README_BEGIN)
    _, end, after = rest.partition(README_END)
    if not found or not end:
        sys.exit("README.md has lost the marks between which the figures go")
    body = "\n".join(["", *lines, ""])
    readme.write_text(f"{before}{README_BEGIN}{body}{README_END}{after}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--duration", default="2s")
    parser.add_argument("--warmup", default="500ms")
    parser.add_argument("--rates", type=lambda text: [int(rate) for rate in text.split(",")],
                        default=RATES, help="calls/s of the open loop, comma separated")
    parser.add_argument("--lavinmq-url", help="a LavinMQ that runs already, to be measured too")
    options = parser.parse_args()
    rig.raise_nofile()
    with contextlib.ExitStack() as stack:
        subjects, lacking = start_all(options, stack)
        runs, failures = measure(subjects, options)
    about = rig.facts("make compare")
    if OUT.exists():
        shutil.rmtree(OUT)
    OUT.mkdir(parents=True)
    names = [subject.name for subject in subjects]
    draw(runs, names, options.rates)
    keep_percentiles(runs, names)
    kept = [{key: value for key, value in run.items() if key != "hgrm"} for run in runs]
    lines = report(runs, subjects, lacking, failures, about, options)
    (OUT / "REPORT.md").write_text("\n".join(lines) + "\n")
    (OUT / "runs.json").write_text(json.dumps({**about, "runs": kept}, indent=1) + "\n")
    update_readme(headline(runs, names, about))
    print("\n".join(lines))
    print("\nwritten to results/compare/ and README.md")


if __name__ == "__main__":
    main()
