"""What both Python programs share: their arguments, the count of calls, the line they print.

A program says `ready` when it is connected. A requester then waits for a line on its standard
input, so that many can begin together, makes calls for the warm-up and the measured time, and
prints one line of JSON. A worker answers until SIGTERM."""

import argparse
import json
import math
import os
import sys
import time

DIRECT_REPLY_TO = "amq.rabbitmq.reply-to"
BODY_LEN = 64
# How long a call may take before it is lost.
PATIENCE_S = 5


def parse_arguments(about):
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("role", choices=["requester", "worker"])
    parser.add_argument("--url", default="amqp://guest:guest@127.0.0.1:5672/%2f")
    parser.add_argument("--queue", default="rpc.upper")
    parser.add_argument("--in-flight", type=int, default=1, help="calls at once; a worker's credit")
    parser.add_argument("--processes", type=int, default=1, help="requesters, for pika")
    parser.add_argument("--warmup", type=float, default=0.3, help="seconds, not measured")
    parser.add_argument("--duration", type=float, default=2.0, help="seconds measured")
    return parser.parse_args()


def wait_for_go():
    print("ready", flush=True)
    sys.stdin.readline()


class Tally:
    """Every call from its body to its end: returned once, corrupted, foreign or lost."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.issued = 0
        self.returned = 0
        self.corrupted = 0
        self.foreign = 0
        self.samples_us = []
        self.last_return_s = 0.0

    def begin(self):
        self.cpu_at_start_s = time.process_time()
        self.measure_from_s = time.perf_counter() + self.arguments.warmup
        self.end_s = self.measure_from_s + self.arguments.duration
        self.last_return_s = self.measure_from_s

    def is_time_left(self):
        return time.perf_counter() < self.end_s

    def next_body(self):
        """Different for each call; its worker answers in capitals."""
        self.issued += 1
        return f"call {self.issued} of {os.getpid()} ".ljust(BODY_LEN, "x").encode()

    def count_reply(self, started_s, body, reply):
        ended_s = time.perf_counter()
        self.returned += 1
        if reply != body.upper():
            self.corrupted += 1
        if started_s >= self.measure_from_s:
            self.samples_us.append((ended_s - started_s) * 1e6)
            self.last_return_s = max(self.last_return_s, ended_s)

    def outcome(self):
        """What is left of it when it crosses to another process."""
        return {
            "issued": self.issued,
            "returned": self.returned,
            "corrupted": self.corrupted,
            "foreign": self.foreign,
            "samples_us": self.samples_us,
            "seconds": self.last_return_s - self.measure_from_s,
            "cpu_s": time.process_time() - self.cpu_at_start_s,
        }


def percentile(ordered, share):
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def print_report(outcomes):
    """One line for all requesters of this program. Exits with 1 unless every call came back."""
    samples = sorted(sample for outcome in outcomes for sample in outcome["samples_us"])
    total = {key: sum(outcome[key] for outcome in outcomes)
             for key in ["issued", "returned", "corrupted", "foreign", "cpu_s"]}
    seconds = max(outcome["seconds"] for outcome in outcomes)
    errors = {
        "lost": total["issued"] - total["returned"],
        "corrupted": total["corrupted"],
        "foreign": total["foreign"],
    }
    report = {
        "calls": len(samples),
        "calls_with_warmup": total["returned"],
        "seconds": round(seconds, 6),
        "calls_per_s": round(len(samples) / seconds, 1) if seconds else 0.0,
        "p50_us": round(percentile(samples, 0.50), 1),
        "p90_us": round(percentile(samples, 0.90), 1),
        "p99_us": round(percentile(samples, 0.99), 1),
        "max_us": round(percentile(samples, 1.0), 1),
        "cpu_us_per_call": round(total["cpu_s"] * 1e6 / max(1, total["returned"]), 2),
        "errors": errors,
    }
    print(json.dumps(report), flush=True)
    sys.exit(1 if any(errors.values()) else 0)
