"""Which tests may be skipped in CI: a plugin that fails a run with CI=true for any other skip.

A skip hides a test that nobody runs; a dependency that is declared is never a reason (tests/test_source_rules.py).
"""

from __future__ import annotations

import os
import re

import pytest

ALLOWED = {
    r"is not here$|are not here$|are not here:|is not here: ": "data, files and packages of others, not in the checkout",
    r"HUBWRIGHT_TEST_WHEELS": "wheels of benchmarks that only their comparison needs",
    r"pip cannot get the wheel of bfcl-eval|pip cannot get the source distribution of jsonschema": "no package index",
    r"could not import 'triton'": "comes with CUDA builds of torch alone",
    r"mount namespaces are not permitted|tmpfs cannot be mounted|no file system can be mounted": "needs privileges",
    r"needs g\+\+": "torch.compile brings no compiler",
    r"is Linux's": "another system",
    r"a cluster runs on this machine": "Ray's tests start their own",
}
"""Reason (a regular expression) -> why it may be."""

_skipped: dict[str, str] = {}


def _note(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    if not any(re.search(pattern, reason) for pattern in ALLOWED):
        _skipped[report.nodeid] = reason


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _note(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _note(report)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    controller = not hasattr(session.config, "workerinput")
    if controller and _skipped and os.environ.get("CI") and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for test, reason in _skipped.items():
        terminalreporter.write_line(f"skipped, and not on the list of tests/skip_list.py: {test}: {reason}", red=True)
