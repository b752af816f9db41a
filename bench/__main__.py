"""`make bench`: each of Tripdesk's hot paths against its floor in the same run; the ratio has to reach its mark."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path

from bench import hot_paths, revenue, search, workbench
from bench.cases import Result, measure

RESULTS = Path(__file__).parent / "results.json"
GROUPS = (hot_paths, workbench, revenue, search)


def main() -> int:
    """0 when every ratio reaches its mark, 1 when one falls short."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    names = [name for group in GROUPS for name in group.NAMES]
    parser.add_argument("--only", choices=names, nargs="+", default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a round (1)")
    arguments = parser.parse_args()

    print(f"{'':9} {'floor/s':>9} {'ours/s':>9} {'p50 ms':>7} {'p99 ms':>7} {'ratio':>7} {'from-to':>13} {'needed':>7}")
    results = []
    for group in GROUPS:
        if not set(group.NAMES) & set(arguments.only):
            continue
        with group.cases() as cases:
            results += [_show(measure(case, arguments.seconds)) for case in cases if case.name in arguments.only]
    machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}
    content = {"machine": machine, "results": [asdict(result) for result in results]}
    RESULTS.write_text(json.dumps(content, indent=2) + "\n")
    short = [result for result in results if result.ratio < result.needed]
    for result in short:
        print(
            f"{result.name} falls short: {result.ratio:.2f} of {result.floor_name}, and {result.needed:.3g} is needed.",
            file=sys.stderr,
        )
    return 1 if short else 0


def _show(result: Result) -> Result:
    spread = f"{result.ratio_lowest:.2f}-{result.ratio_highest:.2f}"
    print(
        f"{result.name:9} {result.floor_per_second:9.1f} {result.tripdesk_per_second:9.1f} "
        f"{result.tripdesk_p50_ms:7.1f} {result.tripdesk_p99_ms:7.1f} {result.ratio:7.2f} {spread:>13} "
        f"{result.needed:7.3g}  of {result.floor_name}",
        flush=True,
    )
    return result


if __name__ == "__main__":
    sys.exit(main())
