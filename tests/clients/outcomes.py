"""What became of each test, and the list of those that cannot apply here."""

import json
import re
import tomllib
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
LISTS = HERE / "not_applicable"


class NotApplicable:
    """The tests of one suite that are not to be run, each with its reason. A `*` in a name stands
    for anything; all else is literal, since pytest's own names are full of brackets."""

    def __init__(self, suite):
        self.reasons = {}
        self.path = LISTS / f"{suite}.toml"
        entries = tomllib.loads(self.path.read_text())["entry"] if self.path.exists() else []
        for entry in entries:
            assert entry["reason"] and entry["tests"], f"{self.path.name}: {entry}"
            for test in entry["tests"]:
                assert test not in self.reasons, f"{self.path.name}: {test} is there twice"
                self.reasons[test] = entry["reason"]
        self.patterns = {
            test: re.compile(re.escape(test).replace(r"\*", ".*"), re.DOTALL)
            for test in self.reasons
        }

    def reason(self, test):
        """Why this test cannot apply, or None."""
        for pattern in self.matching(test):
            return self.reasons[pattern]
        return None

    def matching(self, test):
        return [name for name, pattern in self.patterns.items() if pattern.fullmatch(test)]

    def without_test(self, tests):
        """Entries that no test has: the list is wrong, or the suite has changed."""
        used = {name for test in tests for name in self.matching(test)}
        return [name for name in self.reasons if name not in used]


class Outcomes:
    """Of one suite. Tests that the suite itself skips are failures of our list: they belong
    there, with a reason."""

    def __init__(self, suite, version):
        self.suite = suite
        self.version = version
        self.excluded = NotApplicable(suite)
        self.results = {}
        self.messages = {}
        # What is wrong with the run itself.
        self.problems = []

    def add(self, test, result, message=""):
        """`result`: passed, failed, skipped, or excluded. What failed once has failed."""
        if self.results.get(test) == "failed":
            return
        self.results[test] = result
        self.messages[test] = message

    def read_lines(self, path):
        """What a plugin has written, a test a line; the last line may be torn by a time limit."""
        for line in path.read_text().split("\n")[:-1] if path.exists() else []:
            try:
                self.add(**json.loads(line))
            except json.JSONDecodeError:
                self.problems.append(f"torn: {line[:80]}")

    def finish(self):
        for test, result in self.results.items():
            if result == "skipped" and self.excluded.reason(test) is None:
                self.results[test] = "failed"
                self.messages[test] = f"skipped by the suite, not listed: {self.messages[test]}"
        if not self.results:
            self.problems.append("no test has run")
        for name in self.excluded.without_test(self.results):
            self.problems.append(f"not_applicable/{self.excluded.path.name} names no test: {name}")

    def tests(self, *results):
        return [test for test, result in self.results.items() if result in results]

    @property
    def is_good(self):
        return not self.problems and not self.tests("failed")

    def reason_counts(self):
        excluded = self.tests("skipped", "excluded")
        return Counter(self.excluded.reason(test) for test in excluded)

    def row(self):
        counts = self.reason_counts()
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
        return [
            self.suite, self.version, len(self.tests("passed")), len(self.tests("failed")),
            f"{sum(counts.values())}" + (f": {reasons}" if reasons else ""),
        ]

    def record(self):
        return {"version": self.version, "results": self.results, "messages": self.messages,
                "problems": self.problems}
