"""Write the executable that Pulumi starts as its Kubernetes plugin."""

import shlex
from pathlib import Path

from rehearsal.paths import REPOSITORY

VERSION = "4.34.2"
"""The version that the installed ``pulumi_kubernetes`` asks for; the engine compares them."""
EXECUTABLE = "pulumi-resource-kubernetes"
_CODE = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from rehearsal.kubernetes_plugin.server import main; sys.exit(main())"
)


def install(target: Path, python: Path) -> Path:
    """Write ``pulumi-resource-kubernetes`` into the folder ``target`` and return its path.

    The file is all that ``pulumi plugin install resource kubernetes VERSION --file FILE`` needs.
    ``python`` is an interpreter that has the packages of the checkout. The checkout is added to
    the import path by argument, not by PYTHONPATH, which credential plugins would inherit.
    """
    target.mkdir(parents=True, exist_ok=True)
    script = target / EXECUTABLE
    # Not resolved: the link in a virtual environment is what selects its packages.
    words = [str(python.absolute()), "-P", "-c", _CODE, str(REPOSITORY)]
    script.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    script.chmod(0o755)
    return script
