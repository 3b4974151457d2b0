"""What every side-by-side run needs: start and stop a server, read its CPU and memory, run
loadgen, and write down on what all that was measured. Standard library only."""

import json
import os
import platform
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT_S = 20
STOP_TIMEOUT_S = 20
LISTENING = re.compile(r"listening on (?:amqp://)?(127\.0\.0\.1:\d+)")
ANSI = re.compile(r"\x1b\[[0-9;]*m")
NOFILE_WANTED = 65_536
# The kernel's CPUCLOCK_SCHED: which clock of a process is meant, beside its inverted id.
CPU_CLOCK = 2
# Read before our own load begins: a machine that was busy measures something else.
LOAD_AVERAGE_AT_START = os.getloadavg()[0]


def target_folder():
    """Where cargo was told to put what it builds."""
    return ROOT / os.environ.get("CARGO_TARGET_DIR", "target")


def binary(name, profile="release"):
    """A binary that `make` has built."""
    path = target_folder() / profile / name
    if not path.exists():
        sys.exit(f"{name} is not built: run `make build`")
    return str(path)


def raise_nofile():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = NOFILE_WANTED if hard == resource.RLIM_INFINITY else min(NOFILE_WANTED, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Process:
    """A server as a child process on a loopback port, from its start line to its clean end."""

    # Matches the line by which the server says that it is ready; group 1 is its address.
    start_line = LISTENING
    clean_ends = (0,)

    def __init__(self, command, environment=None):
        self.command = command
        self.environment = environment
        self.lines = []
        self.address = None
        self.is_ready = threading.Event()

    def __enter__(self):
        # A session of its own: an interrupt from the terminal is for us, and we stop the server.
        self.process = subprocess.Popen(
            self.command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.reader = threading.Thread(target=self.read_output, daemon=True)
        self.reader.start()
        try:
            is_ready = self.is_ready.wait(START_TIMEOUT_S)
        except BaseException:
            self.process.terminate()
            raise
        if not is_ready or self.address is None:
            self.process.kill()
            sys.exit(f"{self.command[0]} did not start:\n" + "".join(self.lines))
        return self

    def address_in(self, found):
        return found.group(1)

    def read_output(self):
        """Until the end of the output, so that the server never blocks on a full pipe."""
        for line in self.process.stdout:
            if len(self.lines) < 1_000:
                self.lines.append(line)
            found = self.start_line.search(ANSI.sub("", line))
            if found and self.address is None:
                self.address = self.address_in(found)
                self.is_ready.set()
        self.is_ready.set()

    def __exit__(self, kind, value, trace):
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            sys.exit(f"{self.command[0]} did not stop within {STOP_TIMEOUT_S} s of SIGTERM")
        if kind is None and code not in self.clean_ends:
            sys.exit(f"{self.command[0]} ended with {code}:\n" + "".join(self.lines[-20:]))

    @property
    def pid(self):
        return self.process.pid

    def cpu_s(self):
        """User and system time of all threads so far, ended ones too. The kernel's clock of a
        process counts in nanoseconds, where /proc counts in hundredths of a second."""
        return time.clock_gettime((~self.pid << 3) | CPU_CLOCK)

    def memory_b(self):
        """Resident and proportional set size."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        rollup = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        return {
            "rss": int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024,
            "pss": int(re.search(r"Pss:\s+(\d+) kB", rollup).group(1)) * 1024,
        }


class Server(Process):
    """A binary of this project that listens: the broker, or the relay."""

    def __init__(self, name, *arguments, profile="release"):
        super().__init__([binary(name, profile), *arguments, "--listen", "127.0.0.1:0"])

    @property
    def url(self):
        return f"amqp://guest:guest@{self.address}/%2f"


def stop_on_sigterm():
    """Leaves by an exception, so that every server is stopped on the way out."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def loadgen(*arguments, timeout_s=120):
    """loadgen's own JSON report; any but a clean audit ends everything."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [binary("loadgen"), *arguments, "--json", str(report)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
        if done.returncode != 0:
            sys.exit(f"loadgen {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
        return json.loads(report.read_text())


def figures(report):
    """What is compared, out of loadgen's report."""
    return {
        "calls_per_s": report["calls_per_s"],
        "p50_us": report["latency"]["p50_us"],
        "p99_us": report["latency"]["p99_us"],
        "calls": report["calls"],
        "calls_with_warmup": report["audit"]["issued"],
    }


def load_name(load):
    return "x".join(str(number) for number in load)


FIGURE_NAMES = ["calls/s", "p50 µs", "p99 µs", "CPU µs per call"]


def figure_cells(median):
    return [
        f"{median['calls_per_s']:,.0f}",
        f"{median['p50_us']:,.1f}",
        f"{median['p99_us']:,.1f}",
        f"{median['cpu_us_per_call']:.2f}",
    ]


def medians(runs, keys):
    return {key: statistics.median(run[key] for run in runs) for key in keys}


def spread(ratios):
    """The median of a ratio over the rounds, and how far single rounds strayed."""
    return f"{statistics.median(ratios):.2f} x ({min(ratios):.2f}–{max(ratios):.2f})"


def facts(command):
    """What a reader needs to judge or repeat the figures; no host names, no paths.
    `command` is the make target; with options of its own, a script is named by itself."""
    if len(sys.argv) > 1:
        command = f"python3 benches/{Path(sys.argv[0]).name} {' '.join(sys.argv[1:])}"
    return {
        "command": command,
        "commit": git("rev-parse", "--short", "HEAD"),
        "uncommitted_changes": bool(git("status", "--porcelain", "--", ".", ":!results")),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "cores": len(os.sched_getaffinity(0)),
        "cpu": cpu_model(),
        "kernel": platform.release().split("-")[0],
        "load_average_at_start": round(LOAD_AVERAGE_AT_START, 2),
    }


def git(*arguments):
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()


def cpu_model():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def header(title, about):
    changes = " with uncommitted changes" if about["uncommitted_changes"] else ""
    return [
        f"# {title}",
        "",
        f"`{about['command']}`, {about['date']}, commit {about['commit']}{changes}; "
        f"{about['cores']} cores ({about['cpu']}), Linux {about['kernel']}, loopback; load average "
        f"{about['load_average_at_start']} at the start.",
        "",
    ]


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]


def write_results(folder, lines, record):
    out = ROOT / "results" / folder
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.md").write_text("\n".join(lines) + "\n")
    (out / "runs.json").write_text(json.dumps(record, indent=1) + "\n")
    print("\n".join(lines))
    print(f"\nwritten to results/{folder}/")
    return out
