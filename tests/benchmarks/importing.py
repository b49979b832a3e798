"""The time of `import repwatch`, beyond the startup time of the bare interpreter."""

from __future__ import annotations

import statistics
import subprocess
import sys

from tests.benchmarks.measure import Line, in_turn, milliseconds, user_environment

LIMIT = 0.3


def run(smoke: bool) -> list[Line]:
    def start(code: str) -> None:
        subprocess.run([sys.executable, "-c", code], check=True, env=user_environment())

    actions = {"bare": lambda: start("pass"), "import": lambda: start("import repwatch")}
    in_turn(actions, 1)
    seconds = in_turn(actions, 2 if smoke else 15)
    pairs = zip(seconds["import"], seconds["bare"], strict=True)
    value = statistics.median(a - b for a, b in pairs)
    detail = f"{milliseconds(seconds['import'])} against {milliseconds(seconds['bare'])}"
    return [Line("import repwatch", value, "s", f"under {LIMIT}", value < LIMIT, detail)]
