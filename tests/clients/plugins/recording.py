"""A pytest plugin: leaves out the tests that cannot apply, and writes what became of each test to
a file as it happens, so that a run that is cut short still tells."""

import json
import os
import re

import pytest

MESSAGE_LEN_MAX = 4000


def patterns():
    with open(os.environ["SUITE_EXCLUDED"]) as file:
        return [re.compile(re.escape(name).replace(r"\*", ".*"), re.DOTALL)
                for name in json.load(file)]


def write(test, result, message=""):
    with open(os.environ["SUITE_LINES"], "a") as lines:
        lines.write(json.dumps(
            {"test": test, "result": result, "message": message[-MESSAGE_LEN_MAX:]}) + "\n")


def pytest_ignore_collect(collection_path, config):
    """A whole file that cannot apply need not even be importable."""
    name = os.path.relpath(str(collection_path), str(config.rootpath))
    if any(pattern.fullmatch(name) for pattern in patterns()):
        write(name, "excluded")
        return True
    return None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    excluded = patterns()
    dropped = [item for item in items if any(name.fullmatch(item.nodeid) for name in excluded)]
    for item in dropped:
        write(item.nodeid, "excluded")
    items[:] = [item for item in items if item not in dropped]
    config.hook.pytest_deselected(items=dropped)


def pytest_collectreport(report):
    """A file that cannot be imported is a failed test; one that skips itself, a skipped one."""
    if report.failed:
        write(report.nodeid, "failed", report.longreprtext)
    elif report.skipped:
        write(report.nodeid, "skipped", str(report.longrepr))


def pytest_runtest_logreport(report):
    if report.failed:
        write(report.nodeid, "failed", f"{report.when}: {report.longreprtext}")
    elif report.skipped and hasattr(report, "wasxfail"):
        # The suite says itself that this fails, and it does.
        write(report.nodeid, "passed")
    elif report.skipped:
        write(report.nodeid, "skipped", str(report.longrepr))
    elif report.when == "call":
        write(report.nodeid, "passed")
