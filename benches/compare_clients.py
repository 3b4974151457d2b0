#!/usr/bin/env python3
"""What the user of a stock client gains: pika, aio-pika, lapin, amqprs and amqplib as requesters
and workers against Rondo and RabbitMQ, by turns. Written to results/clients/.

The programs in benches/clients/ are what their users would write; in most of these runs they cost
more than either broker, which is the point: this is what is left of a broker's speed for them.
Both brokers are fresh in each round; the one that does not serve stands idle."""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import namedtuple
from contextlib import ExitStack
from pathlib import Path

import peers
import rig

CLIENTS = rig.ROOT / "benches" / "clients"
KEYS = ["calls_per_s", "p50_us", "p99_us", "broker_cpu_us_per_call", "client_cpu_us_per_call"]
# Of these figures more is better; of the others, less.
MORE_IS_BETTER = {"calls_per_s"}
FIGURE_NAMES = [
    "calls/s", "p50 µs", "p99 µs", "broker CPU µs per call", "requester CPU µs per call",
]
PATIENCE_S = 30
# Of what a program said on standard error: the end tells why it ended.
ERROR_LINES_MAX = 10

# One way of using one client: so many requesters and workers, so many calls in flight each.
Use = namedtuple("Use", "client requesters workers in_flight options", defaults=[()])
USES = [
    Use("pika", 1, 1, 1),
    Use("pika", 8, 8, 1),
    Use("aio-pika", 1, 1, 1),
    Use("aio-pika", 1, 1, 16),
    Use("lapin", 1, 1, 1),
    Use("lapin", 1, 1, 16),
    Use("amqprs", 1, 1, 1),
    Use("amqprs", 1, 1, 16),
    Use("amqplib", 1, 1, 1),
    Use("amqplib", 1, 1, 16),
    Use("amqplib", 1, 1, 1, ("--no-delay",)),
    Use("amqplib", 1, 1, 16, ("--no-delay",)),
]


def load_of(use):
    return rig.load_name((use.requesters, use.workers, use.in_flight))


def name_of(use):
    return " ".join([use.client, *use.options])


def command_of(client):
    if client in ("pika", "aio-pika"):
        return [sys.executable, str(CLIENTS / "python" / f"{client.replace('-', '_')}_rpc.py")]
    if client == "amqplib":
        return ["node", str(CLIENTS / "node" / "amqplib_rpc.js")]
    return [str(rig.target_folder() / "clients" / "release" / f"{client}_rpc")]


def is_there(client):
    if client == "amqplib":
        return shutil.which("node") is not None and (CLIENTS / "node" / "node_modules").exists()
    return Path(command_of(client)[-1]).exists()


def versions():
    """Of each client, from the file that pins it."""
    pins = (CLIENTS / "requirements.txt").read_text()
    crates = (CLIENTS / "rust" / "Cargo.lock").read_text()
    packages = json.loads((CLIENTS / "node" / "package-lock.json").read_text())["packages"]
    found = {name: re.search(rf"^{name}==(\S+)", pins, re.M) for name in ["pika", "aio-pika"]}
    for name in ["lapin", "amqprs"]:
        found[name] = re.search(rf'name = "{name}"\nversion = "(.+)"', crates)
    return {
        **{name: match.group(1) for name, match in found.items()},
        "amqplib": packages["node_modules/amqplib"]["version"],
    }


class Program:
    """A requester or a worker, from its word that it is connected to its end."""

    def __init__(self, use, role, url, options):
        self.role = role
        self.command = [
            *command_of(use.client), role, "--url", url, "--queue", "rpc.upper", *use.options,
            "--in-flight", str(use.in_flight),
        ]
        if role == "requester":
            self.command += ["--warmup", str(options.warmup), "--duration", str(options.duration)]
            if use.requesters > 1:
                self.command += ["--processes", str(use.requesters)]

    def __enter__(self):
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        if self.process.stdout.readline().strip() != "ready":
            self.process.kill()
            self.fail("did not connect")
        return self

    def fail(self, what):
        self.process.wait(PATIENCE_S)
        self.errors.seek(0)
        sys.exit(f"{' '.join(self.command)} {what}:\n{self.errors.read()}")

    def calls(self):
        """Gives the word and waits for the report."""
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            self.fail("ended without a report")
        return json.loads(line)

    def __exit__(self, kind, value, trace):
        # A requester that has reported leaves by itself; it is given the time to say goodbye.
        if self.role == "worker" or kind is not None:
            self.process.terminate()
        try:
            code = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = "no end"
        self.process.stdin.close()
        self.process.stdout.close()
        self.errors.seek(0)
        said = "".join(self.errors.readlines()[-ERROR_LINES_MAX:])
        self.errors.close()
        if kind is None and (code != 0 or said):
            print(f"{' '.join(self.command)} ended with {code}:\n{said}", file=sys.stderr)


def run(use, broker, options):
    with ExitStack() as stack:
        for _ in range(use.workers):
            stack.enter_context(Program(use, "worker", broker.url, options))
        requester = stack.enter_context(Program(use, "requester", broker.url, options))
        before_s = broker.cpu_s()
        report = requester.calls()
        cpu_s = broker.cpu_s() - before_s
    client_cpu_us_per_call = report.pop("cpu_us_per_call")
    return {
        "client": name_of(use),
        "load": load_of(use),
        **report,
        # The warm-up is in the CPU time, so it is in the calls.
        "broker_cpu_us_per_call": cpu_s * 1e6 / max(1, report["calls_with_warmup"]),
        "client_cpu_us_per_call": client_cpu_us_per_call,
        "error_count": sum(report["errors"].values()),
    }


def start_brokers(stack, options):
    """Fresh ones, by name, in the order in which they take turns."""
    brokers = {}
    for name in options.brokers:
        if name == "Rondo":
            shards = ["--shards", str(options.shards)] if options.shards else []
            server = rig.Server("broker", *shards, profile=options.profile)
        else:
            server = peers.RabbitMq()
        brokers[name] = stack.enter_context(server)
    return brokers


def run_round(number, uses, options):
    runs = []
    with ExitStack() as stack:
        brokers = start_brokers(stack, options)
        for use in uses:
            for name, broker in brokers.items():
                runs.append({"round": number, "broker": name, **run(use, broker, options)})
                print(f"{number + 1}/{options.rounds} {runs[-1]}", flush=True)
        versions_run = {name: getattr(broker, "version", None) for name, broker in brokers.items()}
    return runs, versions_run


def gains(mine, theirs, key):
    """How many times better Rondo is, round by round."""
    pairs = zip(mine, theirs, strict=True)
    if key in MORE_IS_BETTER:
        return [one[key] / other[key] for one, other in pairs]
    return [other[key] / one[key] for one, other in pairs]


def rows_of(use, runs, brokers):
    by_broker = {
        name: [run for run in runs if run["broker"] == name and run["client"] == name_of(use)
               and run["load"] == load_of(use)]
        for name in brokers
    }
    rows = []
    for name, mine in by_broker.items():
        median = rig.medians(mine, KEYS)
        cells = [f"{median['calls_per_s']:,.0f}"] + [f"{median[key]:,.1f}" for key in KEYS[1:]]
        errors = sum(run["error_count"] for run in mine)
        rows.append([name_of(use), load_of(use), name, *cells, errors])
    if len(by_broker) == 2:
        cells = [
            rig.spread(gains(by_broker["Rondo"], by_broker["RabbitMQ"], key)) for key in KEYS
        ]
        rows.append([name_of(use), load_of(use), "**gain**", *cells, ""])
    return rows


def report(runs, uses, about, options):
    lines = rig.header("What the user of a stock client gains", about)
    clients = ", ".join(f"{name} {version}" for name, version in about["clients"].items())
    shards = "" if options.shards is None else f", shards {options.shards}"
    lines += [
        f"Medians of {options.rounds} interleaved rounds of {options.duration:g} s after "
        f"{options.warmup:g} s of warm-up; {clients}. Bodies of 64 octets, direct reply-to, "
        "workers acknowledge and have as much credit as a requester has calls in flight. The load "
        "is requesters x workers x calls in flight per requester; requesters, workers and brokers "
        f"share the cores. Rondo as `broker` starts it{shards}; "
        f"{peers.RabbitMq.settings} (version {about['brokers'].get('RabbitMQ', 'not run')}). "
        "CPU is user and system time. `--no-delay`: amqplib leaves Nagle's algorithm on unless "
        "told so.",
        "",
        "Gain: how many times more calls/s, or how many times less of anything else, with Rondo; "
        "the median of the rounds, and the least and the most of them. An error is a call that was "
        "lost or corrupted, or a reply that nobody asked for.",
        "",
    ]
    for client in about["left_out"]:
        lines += [f"Left out, since it is not installed: {client}.", ""]
    if not options.smoke:
        lines += ["![calls per second](calls.svg)", ""]
        if len(options.brokers) == 2:
            lines += ["![gain by figure](gain.svg)", ""]
    rows = [row for use in uses for row in rows_of(use, runs, options.brokers)]
    return lines + rig.table(["client", "load", "broker", *FIGURE_NAMES, "errors"], rows)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--duration", type=float, default=2.0, help="seconds measured per run")
    parser.add_argument("--warmup", type=float, default=0.5, help="seconds before them")
    parser.add_argument("--shards", type=int, help="of Rondo; its default is one per core")
    parser.add_argument("--clients", nargs="+", choices=sorted({use.client for use in USES}))
    parser.add_argument("--brokers", nargs="+", default=["Rondo", "RabbitMQ"],
                        choices=["Rondo", "RabbitMQ"])
    parser.add_argument("--profile", default="release", help="debug: what `make test` has built")
    parser.add_argument("--smoke", action="store_true",
                        help="one short round that writes nothing and fails on any error")
    options = parser.parse_args()
    if options.smoke:
        options.rounds, options.duration, options.warmup = 1, 0.3, 0.1
    return options


def main():
    options = parse_options()
    rig.raise_nofile()
    rig.stop_on_sigterm()
    if "RabbitMQ" in options.brokers and peers.missing(["RabbitMQ"]):
        sys.exit("nothing to compare with: install it, or `make compare-pika INSTALL=1`")
    wanted = [use for use in USES if not options.clients or use.client in options.clients]
    uses = [use for use in wanted if is_there(use.client)]
    left_out = sorted({use.client for use in wanted} - {use.client for use in uses})

    began_s = time.monotonic()
    about = {**rig.facts("make compare-pika"), "clients": versions(), "left_out": left_out}
    runs = []
    for number in range(options.rounds):
        these, about["brokers"] = run_round(number, uses, options)
        runs += these
    print(f"took {time.monotonic() - began_s:.0f} s")
    lines = report(runs, uses, about, options)
    if options.smoke:
        print("\n".join(lines))
        sys.exit(any(run["error_count"] for run in runs))
    folder = rig.write_results("clients", lines, {**about, "runs": runs})
    # Here, since only this needs matplotlib, and a smoke run should do without.
    from clients import plot

    plot.draw(folder, runs, options.brokers)


if __name__ == "__main__":
    main()
