"""``python -m vace_gateway``."""

import sys

from vace_gateway.cli import main

if __name__ == "__main__":
    sys.exit(main())
