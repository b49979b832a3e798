"""`python -m examples.faults train FOLDER`, then `evaluate FOLDER`; see `__init__.py`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # `populations`, whose data is used here, is a folder beside this one, not an installed package.
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from faults.command import main

    main()
