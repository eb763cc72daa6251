import sys

# Alibaba Cloud Linux 3 has 3.6: a sentence, in a syntax that it can read, not a SyntaxError.
if sys.version_info < (3, 10):  # noqa: UP036
    sys.exit(
        "vace-node needs Python 3.10 or later, and this image has "
        + sys.version.split()[0]
        + ". Deploy with an image family that has it, for example acs:ubuntu_24_04_x64."
    )

from vace_node.cli import main  # type: ignore[import-not-found]  # only in the archive

sys.exit(main())
