"""Speed, as ratios of two things measured in the same run: `python -m tests.benchmarks`.

Each module here with a function `run(smoke: bool) -> list[Line]` is one benchmark; `smoke` asks for
the smallest run that goes through all of it, which is what the test suite runs.
"""
