"""`python -m repwatch`: the command line."""

from __future__ import annotations

from repwatch.cli import main

if __name__ == "__main__":
    main()
