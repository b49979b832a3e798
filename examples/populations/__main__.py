"""`python examples/populations NAME --registry FILE.db`; see `__init__.py`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # A folder that is run as a script is not a package.
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from populations.command import main

    main()
