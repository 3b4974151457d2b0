"""The three ways in which clients bring their tests: pytest, node's test runner, cargo. Each kind
of suite fetches its package, installs what it needs below ignored folders, and runs bounded."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import brokers
import rig

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = rig.ROOT / ".venv-suites"
PACKAGES = rig.target_folder() / "clients"
# A test that has not ended by then has failed; there are none that wait that long on purpose.
TEST_TIMEOUT_S = 60
OUTPUT_LINES_MAX = 40


def run_bounded(command, seconds, log, **options):
    """Runs in a process group of its own, which is killed as a whole when its time is over: the
    tests start workers. Output goes to `log`. Returns whether it ended by itself."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True, **options,
        )
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        finally:
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            child.wait()
    return True


def install(command, **options):
    """A step of the installation; nothing can be tested without it."""
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


class Suite:
    """One client's tests. A subclass per kind; an instance per client, in suites/."""

    # Whether it connects to localhost:5672 whatever one says.
    has_standard_port = False
    limit_s = 600
    # The suite whose installation this one shares.
    installed_as = None

    def __init__(self, name):
        self.name = name

    @property
    def log(self):
        return PACKAGES / "logs" / f"{self.name}.log"

    @property
    def lines(self):
        """Where the plugins write what became of each test, as it happens."""
        return PACKAGES / "logs" / f"{self.name}.lines"

    def lack(self):
        """What keeps it from being run here, if anything does."""
        return None

    def environment(self, broker):
        """By which the suite finds the broker."""
        return {}


class PytestSuite(Suite):
    """From a source distribution, in a virtual environment of its own with pinned versions."""

    def __init__(self, name, package, tests, environment, options=(), **settings):
        super().__init__(name)
        self.package = package
        self.selected = tests
        self.environment_of = environment
        self.options = options
        for setting, value in settings.items():
            assert hasattr(self, setting), setting
            setattr(self, setting, value)

    def environment(self, broker):
        return self.environment_of(broker)

    @property
    def requirements(self):
        return HERE / "requirements" / f"{self.installed_as or self.name}.txt"

    @property
    def version(self):
        pins = self.requirements.read_text()
        return re.search(rf"^{self.package}==(\S+)", pins, re.M | re.I).group(1)

    @property
    def python(self):
        return self.installed / "bin" / "python"

    @property
    def installed(self):
        return ENVIRONMENTS / (self.installed_as or self.name)

    def prepare(self):
        folder = self.installed
        stamp = folder / ".installed"
        wanted = hashlib.sha256(self.requirements.read_bytes()).hexdigest()
        if not stamp.exists() or stamp.read_text() != wanted:
            install([sys.executable, "-m", "venv", "--clear", folder])
            pip = [self.python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
            install([*pip, "install", "--no-deps", "-r", self.requirements])
            stamp.write_text(wanted)
        if not self.folder.exists():
            self.unpack()

    @property
    def folder(self):
        return PACKAGES / f"{self.package}-{self.version}"

    def unpack(self):
        """pip asks the package for its metadata before it gives it out, which may need a tool
        that builds it; that is pip's affair, in a place of its own."""
        with tempfile.TemporaryDirectory() as place:
            install([
                self.python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
                "--no-deps", "--no-binary", self.package, f"{self.package}=={self.version}",
                "--dest", place,
            ])
            archive, = Path(place).glob("*.tar.gz")
            with tarfile.open(archive) as opened:
                opened.extractall(place, filter="data")
            unpacked, = [path for path in Path(place).iterdir() if path.is_dir()]
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(unpacked, self.folder)

    def run(self, broker, outcomes):
        self.lines.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory() as place:
            excluded = Path(place) / "excluded"
            excluded.write_text(json.dumps(list(outcomes.excluded.reasons)))
            environment = {
                **os.environ,
                "PATH": f"{self.python.parent}:{os.environ['PATH']}",
                "PYTHONPATH": str(HERE / "plugins"),
                "SUITE_LINES": str(self.lines),
                "SUITE_EXCLUDED": str(excluded),
                **self.environment(broker),
            }
            command = [
                self.python, "-m", "pytest", "-p", "no:cacheprovider", "-p", "recording",
                "--quiet", "--timeout", str(TEST_TIMEOUT_S), *self.options, *self.selected,
            ]
            if not run_bounded(command, self.limit_s, self.log, cwd=self.folder, env=environment):
                outcomes.problems.append(f"did not end within {self.limit_s} s")
        outcomes.read_lines(self.lines)


class OwnSuite(PytestSuite):
    """Our own tests of a client or framework whose package has none."""

    @property
    def folder(self):
        return HERE / "own"


class NodeSuite(Suite):
    """From npm, with the versions of tests/clients/package-lock.json."""

    def __init__(self, name, environment, has_standard_port):
        super().__init__(name)
        self.environment_of = environment
        self.has_standard_port = has_standard_port

    def environment(self, broker):
        return self.environment_of(broker)

    @property
    def version(self):
        packages = json.loads((HERE / "package-lock.json").read_text())["packages"]
        return packages[f"node_modules/{self.name}"]["version"]

    def lack(self):
        needs = [name for name in ("node", "npm") if shutil.which(name) is None]
        return f"no {needs[0]} (Debian: apt-get install nodejs npm)" if needs else None

    def prepare(self):
        lock = (HERE / "package-lock.json").read_bytes()
        stamp = HERE / "node_modules" / ".installed"
        wanted = hashlib.sha256(lock).hexdigest()
        if not stamp.exists() or stamp.read_text() != wanted:
            install(["npm", "ci", "--silent", "--prefix", HERE])
            stamp.write_text(wanted)

    def run(self, broker, outcomes):
        folder = HERE / "node_modules" / self.name
        self.lines.unlink(missing_ok=True)
        command = [
            "node", "--test", "--test-concurrency=1", f"--test-timeout={TEST_TIMEOUT_S * 1000}",
            f"--test-reporter={HERE / 'plugins' / 'recording.mjs'}",
            *sorted(folder.glob("test/*.test.js")),
        ]
        environment = {**os.environ, "SUITE_LINES": str(self.lines), **self.environment(broker)}
        if not run_bounded(command, self.limit_s, self.log, cwd=folder, env=environment):
            outcomes.problems.append(f"did not end within {self.limit_s} s")
        outcomes.read_lines(self.lines)
        for test in outcomes.tests("passed", "failed", "skipped"):
            # There is no way to tell node's runner which tests to leave out: they run, and what
            # becomes of them is not looked at.
            if outcomes.excluded.reason(test):
                outcomes.results[test] = "excluded"


class CargoSuite(Suite):
    """From a crate in the registry, at the version that our own Cargo.lock has, with the
    dependencies that the crate's Cargo.lock has. Each test is a process of its own."""

    def __init__(self, name, features, environment, has_standard_port=False):
        super().__init__(name)
        self.features = features
        self.environment_of = environment
        self.has_standard_port = has_standard_port

    def environment(self, broker):
        return self.environment_of(broker)

    @property
    def version(self):
        lock = (rig.ROOT / "Cargo.lock").read_text()
        return re.search(rf'name = "{self.name}"\nversion = "(.+)"', lock).group(1)

    @property
    def folder(self):
        return PACKAGES / f"{self.name}-{self.version}"

    def prepare(self):
        if not self.folder.exists():
            shutil.copytree(self.fetched(), self.folder)
        self.build()

    def fetched(self):
        """Where cargo has unpacked the crate."""
        told = install(["cargo", "metadata", "--format-version", "1", "--locked"], cwd=rig.ROOT)
        for package in json.loads(told)["packages"]:
            if (package["name"], package["version"]) == (self.name, self.version):
                return Path(package["manifest_path"]).parent
        sys.exit(f"{self.name} {self.version} is not among our dependencies")

    def build(self):
        """The test executables, by the name of what they are made from."""
        told = install(
            ["cargo", "test", "--no-run", "--locked", "--no-default-features", "--features",
             self.features, "--lib", "--tests", "--message-format", "json"],
            cwd=self.folder,
            env={**os.environ, "CARGO_TARGET_DIR": str(PACKAGES / "crates")},
        )
        messages = map(json.loads, filter(lambda line: line[:1] == "{", told.splitlines()))
        return {
            message["target"]["name"]: message["executable"]
            for message in messages
            if message.get("executable") and message["profile"]["test"]
        }

    def run(self, broker, outcomes):
        # Backtraces would push what was asserted out of the message.
        environment = {**os.environ, "RUST_BACKTRACE": "0", **self.environment(broker)}
        for name, executable in sorted(self.build().items()):
            listed = subprocess.run(
                [executable, "--list", "--format", "terse"], capture_output=True, text=True,
            ).stdout
            for test in re.findall(r"^(.+): test$", listed, re.M):
                self.run_one(f"{name}::{test}", [executable, "--exact", test, "--nocapture"],
                             environment, outcomes)

    def run_one(self, test, command, environment, outcomes):
        if outcomes.excluded.reason(test):
            outcomes.add(test, "excluded")
            return
        with tempfile.TemporaryDirectory() as place:
            log = Path(place) / "log"
            has_ended = run_bounded(
                command, TEST_TIMEOUT_S, log, cwd=self.folder, env=environment,
            )
            output = log.read_text(errors="replace")
        with self.log.open("a") as kept:
            kept.write(f"--- {test}\n{output}")
        if re.search(r"^test result: ok. 1 passed", output, re.M):
            outcomes.add(test, "passed")
        elif "1 ignored" in output:
            outcomes.add(test, "skipped", "#[ignore]")
        else:
            why = "" if has_ended else f"did not end within {TEST_TIMEOUT_S} s\n"
            outcomes.add(test, "failed", why + "\n".join(output.splitlines()[-OUTPUT_LINES_MAX:]))
