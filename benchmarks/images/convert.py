"""How fast the FP8 converter is: against PyTorch, and against the machine.

    python benchmarks/images/convert.py [--rounds 3] [--folder DIR] [--form scaled|plain]

A generated fp16 model of just over 1 GiB (layers of the real width) is converted by the command
`vace_weights convert`, and by PyTorch: load with safetensors, cast, save. Each runs in a process
of its own, in turn within each round, so that a busy moment hits both; medians are compared.
Both times count from the start of the work, with everything imported; the converter's includes
its report and the sync to the disk, PyTorch's neither. Result lines are `name value`, lines for
people begin with `#`:

    convert_ratio        PyTorch's time divided by the converter's (at least 1 is wanted)
    convert_peak_mb      peak resident memory of the converter, MB (at most 600 is wanted)
    convert_torch_peak_mb  the same of PyTorch
    convert_gb_per_s     source bytes a second
    convert_limit_share  the converter's time without its look at the weights (read, look up,
                         hash, write: what any converter has to do on this machine) over its time

PyTorch is installed once, below $XDG_CACHE_HOME/wan-vace (3.4 GB).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from vace_weights.architecture import becomes_fp8
from vace_weights.generate import generate_vace
from vace_weights.quantise import FORMS, code_table, look_up
from vace_weights.safetensors import Reader
from vace_weights.survey import slices

ROOT = Path(__file__).resolve().parents[2]
TORCH_CAST = ROOT / "tests" / "images" / "fp8" / "torch_cast.py"
_OURS = """
import json, sys, time
from pathlib import Path
from vace_weights.convert import convert
started = time.perf_counter()
made = convert(Path(sys.argv[1]), Path(sys.argv[2]), form=sys.argv[3])
seconds = time.perf_counter() - started
status = Path('/proc/self/status').read_text()
peak = int(status.partition('VmHWM:')[2].split()[0]) * 1024 / 1e6
print(json.dumps({"seconds": seconds, "peak_mb": peak, "sha256": made.sha256}))
"""


def run(command: list[str]) -> dict[str, float]:
    """Run one measured process; its last line is JSON."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stderr}")
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def bare_work(source: Path, target: Path) -> dict[str, float]:
    """Seconds of each thing that has to be done with every byte, one after the other."""
    seconds = dict.fromkeys(("read", "look up", "hash", "write and sync"), 0.0)
    table = code_table("F16", np.float32(2**-12))
    digest = hashlib.sha256()
    with Reader(source) as reader, target.open("wb", buffering=0) as output:
        for name, entry in reader.header.tensors.items():
            mark = time.perf_counter()
            for part in slices(reader, entry):
                now = time.perf_counter()
                seconds["read"] += now - mark
                data = look_up(table, part).data if becomes_fp8(name) else part.data.cast("B")
                mark, now = now, time.perf_counter()
                seconds["look up"] += now - mark
                digest.update(data)
                mark, now = now, time.perf_counter()
                seconds["hash"] += now - mark
                output.write(data)
                mark, now = now, time.perf_counter()
                seconds["write and sync"] += now - mark
                mark = now
        mark = time.perf_counter()
        os.fsync(output.fileno())
        seconds["write and sync"] += time.perf_counter() - mark
    return seconds


def main() -> None:
    """Generate, measure in turn, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--folder", type=Path, help="where the files go (4 GB); default: a temporary one"
    )
    parser.add_argument("--form", choices=FORMS, default="scaled")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))  # the environment with PyTorch is a part of the tests
    from tests.images.fp8 import torch_environment  # noqa: PLC0415

    python = torch_environment.ensure()
    with tempfile.TemporaryDirectory(prefix="bench-convert-", dir=options.folder) as name:
        folder = Path(name)
        source = folder / "source.safetensors"
        size, _ = generate_vace(source, scale="gib", seed=1)
        print(f"# {size / 2**30:.3f} GiB of fp16, form {options.form}, {os.cpu_count()} CPUs")
        ours, theirs, bare = [], [], []
        for number in range(options.rounds):
            targets = [
                folder / f"{kind}-{number}.safetensors" for kind in ("ours", "torch", "bare")
            ]
            arguments = [str(source), str(targets[0]), options.form]
            ours.append(run([sys.executable, "-c", _OURS, *arguments]))
            arguments[1] = str(targets[1])
            theirs.append(run([str(python), str(TORCH_CAST), "model", *arguments]))
            bare.append(bare_work(source, targets[2]))
            for target in targets:
                target.unlink()
            print(
                f"# round {number + 1}: converter {ours[-1]['seconds']:.2f} s, "
                f"PyTorch {theirs[-1]['seconds']:.2f} s, bare work {sum(bare[-1].values()):.2f} s"
            )
    if len({row["sha256"] for row in ours}) != 1:
        raise SystemExit("the converter gave different bytes in different rounds")
    report(size, ours, theirs, bare)


def report(
    size: int,
    ours: list[dict[str, float]],
    theirs: list[dict[str, float]],
    bare: list[dict[str, float]],
) -> None:
    """Print medians and what they mean."""
    mine = statistics.median(row["seconds"] for row in ours)
    torch = statistics.median(row["seconds"] for row in theirs)
    parts = {kind: statistics.median(row[kind] for row in bare) for kind in bare[0]}
    total = sum(parts.values())
    print("# bare work, one thread: " + ", ".join(f"{k} {v:.2f} s" for k, v in parts.items()))
    largest = max(parts, key=lambda kind: parts[kind])
    # Reading and writing go through the page cache: what they cost is memory bandwidth, unless
    # syncing dominates, which is the disk.
    limit = "disk" if largest == "write and sync" else "memory" if largest != "hash" else "SHA-256"
    print(
        f"# limit: of the bare work {largest!r} takes most ({parts[largest] / total:.0%}), so the "
        f"bound is {limit}; the rest of the converter's time is the exact histogram for the report"
    )
    print(f"convert_ratio {torch / mine:.2f}")
    print(f"convert_peak_mb {max(row['peak_mb'] for row in ours):.0f}")
    print(f"convert_torch_peak_mb {max(row['peak_mb'] for row in theirs):.0f}")
    print(f"convert_gb_per_s {size / mine / 1e9:.2f}")
    print(f"convert_torch_gb_per_s {size / torch / 1e9:.2f}")
    print(f"convert_limit_share {min(1.0, total / mine):.2f}")


if __name__ == "__main__":
    main()
