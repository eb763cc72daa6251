"""``main.py`` of the tests: takes ComfyUI's flags and runs the project's simulated ComfyUI.

`STANDIN_WITHOUT` names a flag that it shall not know; `STANDIN_IGNORE` names a signal to ignore.
"""

import argparse
import os
import signal
import sys

FLAGS = (
    "--listen", "--port", "--input-directory", "--output-directory", "--temp-directory",
    "--user-directory", "--database-url", "--extra-model-paths-config", "--max-upload-size",
    "--reserve-vram",
)  # fmt: skip
SWITCHES = (
    "--disable-auto-launch", "--disable-metadata", "--disable-api-nodes", "--cache-classic",
    "--highvram", "--disable-pinned-memory", "--cpu",
)  # fmt: skip

parser = argparse.ArgumentParser(allow_abbrev=False)
without = os.environ.get("STANDIN_WITHOUT", "")
for name in FLAGS:
    if name != without:
        parser.add_argument(name)
for name in SWITCHES:
    if name != without:
        parser.add_argument(name, action="store_true")
if without != "--fast":
    values = ("fp16_accumulation", "fp8_matrix_mult", "cublas_ops", "autotune")
    parser.add_argument("--fast", nargs="*", choices=[name for name in values if name != without])
options = parser.parse_args()
for name in filter(None, os.environ.get("STANDIN_IGNORE", "").split(",")):
    signal.signal(signal.Signals[name], signal.SIG_IGN)
print(os.environ.get("STANDIN_LINE", "stand-in starts"), file=sys.stderr, flush=True)
# As ComfyUI: the folder that it is given gets a "temp" appended.
arguments = ["--listen", options.listen, "--port", options.port, "--base", options.temp_directory]
os.execv(sys.executable, [sys.executable, "-m", "rehearsal.comfyui", *arguments])
