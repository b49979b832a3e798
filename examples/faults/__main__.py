"""`python -m examples.faults train REGISTRY`, then `evaluate REGISTRY`; see `__init__.py`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # `populations`, whose data is used here, is a folder beside this one and no installed package.
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from faults.command import main

    main()
