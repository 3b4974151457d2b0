#!/usr/bin/env python3
"""Runs the clients' own test suites against a broker, and prints a table of what became of them.

    run.py [--only NAME ...] [--fast] [--prepare]

BROKER: rondo (from this checkout, two shards; the default) or rabbitmq (Debian's, the baseline).
BROKER_URL: a broker that already runs. BROKER_PROFILE: debug (the default) or release.
The results are kept, and a failure says whether it fails against RabbitMQ too if that was run."""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import brokers
import rig
import suites
from kinds import PACKAGES
from outcomes import Outcomes

MESSAGE_LINES_MAX = 12
IS_INSIDE = "SUITES_IN_NAMESPACE"
UNSHARE = ["unshare", "--map-root-user", "--net"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=suites.NAMES, default=suites.NAMES)
    parser.add_argument("--fast", action="store_true", help="only what takes seconds")
    parser.add_argument("--prepare", action="store_true", help="only install, run nothing")
    options = parser.parse_args()
    rig.stop_on_sigterm()
    rig.raise_nofile()
    names = [name for name in options.only if name in suites.FAST or not options.fast]
    is_inside = IS_INSIDE in os.environ
    wanted = []
    for suite in map(suites.load, names):
        lack = suite.lack() or (not is_inside and lack_of_port(suite))
        # The fast ones are part of `make test`, which has to work without npm, say.
        if lack and options.fast:
            print(f"{suite.name} is left out: {lack}", file=sys.stderr, flush=True)
        elif lack:
            sys.exit(f"{suite.name} cannot be run: {lack}; --only names others")
        else:
            wanted.append(suite)
    for suite in wanted if not is_inside else []:
        print(f"preparing {suite.name} {suite.version}", flush=True)
        suite.prepare()
    if options.prepare:
        return
    if is_inside:
        interface_up()
    elif any(map(needs_namespace, wanted)):
        print(f"port {brokers.STANDARD_PORT} is taken: using a network namespace", flush=True)
        os.environ[IS_INSIDE] = "1"
        os.execvp(UNSHARE[0], [*UNSHARE, sys.executable, *sys.argv])
    finished = []
    for suite in wanted:
        finished.append(run(suite))
        keep(finished[-1])
    report(finished)
    sys.exit(not all(outcomes.is_good for outcomes in finished))


def needs_namespace(suite):
    """Where somebody else listens on the one port that some suites know, the whole run moves into
    a network namespace, whose loopback is its own. Root is not needed for that."""
    is_ours = brokers.name() != "elsewhere"
    return suite.has_standard_port and is_ours and not is_free(brokers.STANDARD_PORT)


def lack_of_port(suite):
    if not needs_namespace(suite):
        return None
    if shutil.which(UNSHARE[0]) and subprocess.run([*UNSHARE, "true"]).returncode == 0:
        return None
    return (f"it needs port {brokers.STANDARD_PORT} of localhost, which is taken, "
            "and network namespaces are not allowed here")


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def interface_up():
    """A fresh namespace's loopback is down."""
    import fcntl
    import struct
    get_flags, set_flags, up = 0x8913, 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(control, get_flags, request))[1]
        fcntl.ioctl(control, set_flags, struct.pack("16sH14x", b"lo", flags | up))


def run(suite):
    outcomes = Outcomes(suite.name, suite.version)
    suite.log.unlink(missing_ok=True)
    begun = time.monotonic()
    try:
        with brokers.start(suite.has_standard_port) as broker:
            suite.run(broker, outcomes)
    except SystemExit as end:
        # A broker that did not start, or did not end well, says why; whoever stops us does not.
        if not isinstance(end.code, str):
            raise
        outcomes.problems.append(end.code)
    outcomes.finish()
    counts = {result: len(outcomes.tests(result)) for result in ("passed", "failed")}
    print(f"{suite.name}: {counts['passed']} passed, {counts['failed']} failed, "
          f"{time.monotonic() - begun:.0f} s", flush=True)
    return outcomes


def results_of(broker):
    path = PACKAGES / "results" / f"{broker}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def keep(outcomes):
    """Beside the results of the suites that were run before."""
    path = PACKAGES / "results" / f"{brokers.name()}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    results = {**results_of(brokers.name()), outcomes.suite: outcomes.record()}
    path.write_text(json.dumps(results, indent=1) + "\n")


def report(finished):
    baseline = results_of("rabbitmq") if brokers.name() != "rabbitmq" else {}
    for outcomes in finished:
        known = baseline.get(outcomes.suite, {}).get("results", {})
        for test in outcomes.tests("failed"):
            also = f" ({known[test]} against RabbitMQ)" if test in known else ""
            lines = outcomes.messages[test].strip().splitlines()[-MESSAGE_LINES_MAX:]
            print(f"\nFAILED {outcomes.suite}: {test}{also}")
            print("\n".join(f"    {line}" for line in lines))
        for problem in outcomes.problems:
            print(f"\nPROBLEM {outcomes.suite}: {problem}")
    head = ["client", "version", "passed", "failed", "not applicable"]
    print(f"\nAgainst {brokers.version()}:\n")
    print("\n".join(rig.table(head, [outcomes.row() for outcomes in finished])))


if __name__ == "__main__":
    main()
