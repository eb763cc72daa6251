"""Where a rehearsal keeps its things. Nothing of the user's is read or written."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
"""The checkout; the Pulumi program runs from here."""


def state_root() -> Path:
    """Return the folder with the state of every rehearsal of this checkout.

    ``WAN_VACE_REHEARSAL_DIR`` names another one, for disks that are too small or slow.
    """
    return Path(os.environ.get("WAN_VACE_REHEARSAL_DIR", REPOSITORY / ".rehearsal"))
