"""What `make test-long` has to say besides whether it passed."""

from __future__ import annotations

import json
import os
from collections import Counter

from _pytest.terminal import TerminalReporter


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """How often the stories of test_money_machine.py did what, when somebody asked for many."""
    told = [
        json.loads(str(value))
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == "money" and report.when == "call"
    ]
    if not told or "MONEY_RUNS" not in os.environ:
        return
    did = sum((Counter(part["did"]) for part in told), Counter[str]())
    terminalreporter.section(f"{did['story']:,} stories of money, again with MONEY_SEED={told[0]['seed']}")
    for what, times in sorted(did.items()):
        terminalreporter.write_line(f"{times:9,}  {what}")
