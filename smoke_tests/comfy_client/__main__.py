"""Command line: `python -m smoke_tests.comfy_client run WORKFLOW.json --out fox.mp4`."""

import signal
import sys

from smoke_tests.comfy_client.command import main

if __name__ == "__main__":
    # a pipeline that is cancelled sends SIGTERM; its job must not stay on the GPU either
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
