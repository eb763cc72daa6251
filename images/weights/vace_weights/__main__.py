"""``python -m vace_weights``."""

import sys

from vace_weights.cli import main

if __name__ == "__main__":
    sys.exit(main())
