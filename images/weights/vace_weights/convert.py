"""Converts a Wan VACE model to float8_e4m3fn, in one stream and in bounded memory.

Two forms, both of which ComfyUI 0.33 loads without a custom node, with `weight_dtype` `default`
as well as `fp8_e4m3fn_fast`:

- `scaled` (the default): each FP8 layer has a float32 scalar `<layer>.weight_scale` beside it,
  and the file's metadata carries `_quantization_metadata`, JSON of
  `{"format_version": "1.0", "layers": {"<layer>": {"format": "float8_e4m3fn"}}}`, in some layers
  with `"full_precision_matrix_mult": true` (`architecture.py` says in which and why). ComfyUI's
  loader turns that into one description a layer (`comfy/utils.py`, convert_old_quants) and takes
  the layers over as quantised tensors (`comfy/ops.py`, mixed_precision_ops) whatever
  `weight_dtype` says. With `default` everything else keeps 16 bits; a float8 `weight_dtype` is
  a wish of the graph, and then norms and modulation are cast to it on load (linear layers that
  are not listed are not: they are loaded in the type that is computed in).
- `plain`: the same layers cast without a scale, for comparison. ComfyUI takes the commonest type
  of such a file for the type of the whole model, so it casts norms and modulation on load even
  with `default`.

Names are written without the prefix that checkpoints have (`model.diffusion_model.`): the loader
removes it from tensors before it reads the metadata, and would not find prefixed layers.

The result depends on the source's tensors alone: order, metadata and header are fixed, so the
same source gives the same bytes on every machine. `CONVERTERS` changes when they would.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from vace_weights.architecture import (
    Architecture,
    bare,
    becomes_fp8,
    detect,
    multiplies_in_16_bit,
    tensor_class,
)
from vace_weights.conversion_errors import (
    AlreadyQuantisedError,
    FormError,
    SameFileError,
    SourceChangedError,
    TensorTypeError,
)
from vace_weights.files import readable_bytes, write_durably
from vace_weights.output import OutputFile
from vace_weights.quantise import (
    FORMS,
    FP8_DTYPE,
    SOURCE_TYPES,
    Form,
    code_table,
    encode,
    look_up,
)
from vace_weights.report import Measured, Report, summarise
from vace_weights.safetensors import Reader, TensorEntry, encode_header, layout
from vace_weights.survey import Survey, slices, survey

CONVERTERS: dict[Form, str] = {"scaled": "fp8-scaled/2", "plain": "fp8-plain/1"}
"""Names of the conversion in manifests; the number rises when the same source gives other bytes."""

AHEAD = 2
"""Tensors that are surveyed while an earlier one is being written."""

_QUANTISED_SUFFIXES = (".weight_scale", ".scale_weight", ".comfy_quant", ".input_scale")
_SCALE_ALIGNMENT = 4

ProgressCallback = Callable[[int, int], None]
"""Called with the bytes of the result that were made, and the bytes that it will have."""


@dataclass(frozen=True)
class Conversion:
    """A finished conversion: size and SHA-256 of the result, and what it did to the weights."""

    size: int
    sha256: str
    report: Report


@dataclass(frozen=True)
class _Output:
    """One tensor of the result. `source` is None for a scale, whose weight is `layer`.weight."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    source: TensorEntry | None
    layer: str = ""

    @property
    def converted(self) -> bool:
        return self.source is not None and self.dtype != self.source.dtype


def convert(
    source: Path,
    target: Path,
    *,
    form: Form = "scaled",
    progress: ProgressCallback | None = None,
) -> Conversion:
    """Write `target`, the FP8 form of the Wan VACE model in `source` (fp16, bf16 or fp32).

    Needs about 100 MB of memory whatever the model's size. `target` appears when it is whole and
    on the disk, replacing a file of that name; on any error it is left as it was. Raises
    ConversionError (conversion_errors.py draws the tree).
    """
    if form not in FORMS:
        raise FormError(
            given=f"the form {form!r}",
            allowed=" or ".join(FORMS),
            why="each form is a format that ComfyUI's loader knows",
            advice="Leave it out for the form that the figures favour (scaled).",
        )
    with Reader(source) as reader:
        _refuse_same_file(reader, target)
        fingerprint = reader.fingerprint()
        _refuse_quantised(reader)
        model, prefix = detect(
            {name: entry.shape for name, entry in reader.header.tensors.items()}, str(source)
        )
        outputs = _plan(reader, prefix, form)
        header = encode_header(
            layout((each.name, each.dtype, each.shape) for each in outputs),
            _metadata(outputs, form),
        )
        data = sum(entry.nbytes for entry in layout((o.name, o.dtype, o.shape) for o in outputs))
        with OutputFile(target, len(header) + data) as output:
            output.write(header)
            measured = _stream(reader, outputs, form, output, progress)
            if reader.fingerprint() != fingerprint:
                raise SourceChangedError(
                    given=f"{source} changed while it was being converted",
                    allowed="a source that nobody writes to",
                    why="the result would mix two states of it",
                    advice="Let the download or copy end, then run the command again.",
                )
            sha256 = output.finish()
    return Conversion(len(header) + data, sha256, summarise(form, _ordered(measured, model)))


def _refuse_same_file(reader: Reader, target: Path) -> None:
    if not target.exists():
        return
    status = target.stat()
    if (status.st_dev, status.st_ino) == reader.identity():
        raise SameFileError(
            given=f"{target} is the source itself",
            allowed="another file as the target",
            why="the source is read while the target is written, and is needed to check the result",
            advice="Name another target.",
        )


def _refuse_quantised(reader: Reader) -> None:
    header = reader.header
    signs = [
        f"tensor {entry.name!r} is {entry.dtype}"
        for entry in header.tensors.values()
        if entry.dtype.startswith("F8_")
    ]
    signs += [
        f"it has the tensor {name!r}"
        for name in header.tensors
        if name.endswith(_QUANTISED_SUFFIXES) or name.split(".")[-1] == "scaled_fp8"
    ]
    if "_quantization_metadata" in header.metadata:
        signs.append("it has _quantization_metadata")
    if signs:
        raise AlreadyQuantisedError(
            given=f"{reader.path} is quantised already: {signs[0]}",
            allowed="a model in fp16, bf16 or fp32",
            why="rounding it a second time would only lose precision",
            advice="Use that file as it is, or name the 16-bit file "
            "wan2.1_vace_1.3B_fp16.safetensors as the source.",
        )


def _plan(reader: Reader, prefix: str, form: Form) -> list[_Output]:
    """The tensors of the result in the order of its data.

    Wide types come first and FP8 last, by name within a type. The float32 scales stand behind the
    FP8 data, because they are known only when that was read and the result is hashed while it is
    written. A float32 has to start at a multiple of four, so tensors whose size is none (which
    the real model does not have) go behind the scales.
    """
    tensors = []
    for name, entry in reader.header.tensors.items():
        if not name.startswith(prefix):
            continue  # a checkpoint's text encoder and VAE are no part of the diffusion model
        own = bare(name, prefix)
        if entry.dtype not in SOURCE_TYPES:
            raise TensorTypeError(
                given=f"tensor {name!r} of {reader.path} is {entry.dtype}",
                allowed=", ".join(SOURCE_TYPES),
                why="the weights of this model are floating-point numbers of 16 or 32 bits",
                advice="Convert the source to F16 first, or fetch the published fp16 file.",
            )
        dtype = FP8_DTYPE if becomes_fp8(own) else entry.dtype
        tensors.append(_Output(own, dtype, entry.shape, entry, own.removesuffix(".weight")))
    width = {FP8_DTYPE: 1, **{name: kind.itemsize for name, kind in SOURCE_TYPES.items()}}
    tensors.sort(key=lambda each: (-width[each.dtype], each.name))
    if form == "plain":
        return tensors
    scales = [
        _Output(f"{each.layer}.weight_scale", "F32", (), None, each.layer)
        for each in tensors
        if each.converted
    ]

    def aligned(each: _Output) -> bool:
        return layout([(each.name, each.dtype, each.shape)])[0].nbytes % _SCALE_ALIGNMENT == 0

    before = [each for each in tensors if aligned(each)]
    return before + scales + [each for each in tensors if not aligned(each)]


def _metadata(outputs: list[_Output], form: Form) -> dict[str, str]:
    metadata = {"converter": CONVERTERS[form], "format": "pt"}
    if form == "scaled":
        layers = {each.layer: _description(each.layer) for each in outputs if each.converted}
        document = {"format_version": "1.0", "layers": dict(sorted(layers.items()))}
        metadata["_quantization_metadata"] = json.dumps(document, separators=(",", ":"))
    return metadata


def _description(layer: str) -> dict[str, Any]:
    found: dict[str, Any] = {"format": "float8_e4m3fn"}
    if multiplies_in_16_bit(f"{layer}.weight"):
        found["full_precision_matrix_mult"] = True
    return found


def _stream(
    reader: Reader,
    outputs: list[_Output],
    form: Form,
    output: OutputFile,
    progress: ProgressCallback | None,
) -> list[Measured]:
    """Survey and write every tensor; the next ones are surveyed while one is written."""
    scales: dict[str, np.float32] = {}
    measured: list[Measured] = []
    made = 0
    # Tensors behind the scales are surveyed together with the others: their scale stands first.
    with ThreadPoolExecutor(1, thread_name_prefix="weights-survey") as pool:
        surveys = _surveyed(pool, reader, [each for each in outputs if each.source is not None])
        found: dict[str, Survey] = {}
        for each in outputs:
            wanted = f"{each.layer}.weight" if each.source is None else each.name
            while wanted not in found and wanted not in scales:
                name, result = next(surveys)
                found[name] = result
                scales[name] = result.scale
            if each.source is None:
                output.write(scales[wanted].tobytes())
                made += 4
                continue
            result = found.pop(each.name)
            scale = result.scale if form == "scaled" else None
            size = 0
            for piece in _pieces(reader, each, scale):
                output.write(piece)
                size += len(piece)
                if progress is not None:
                    progress(made + size, output.size)
            made += size
            measured.append(
                Measured(
                    each.name,
                    tensor_class(each.name),
                    each.converted,
                    each.source.nbytes,
                    size,
                    result.figures,
                )
            )
    if progress is not None:
        progress(output.size, output.size)
    return measured


def _surveyed(
    pool: ThreadPoolExecutor, reader: Reader, outputs: list[_Output]
) -> Iterator[tuple[str, Survey]]:
    """Surveys by name, in the order given, computed at most AHEAD tensors in advance."""
    waiting: deque[tuple[str, Future[Survey]]] = deque()
    try:
        for each in outputs:
            waiting.append((each.name, pool.submit(survey, reader, cast(TensorEntry, each.source))))
            if len(waiting) > AHEAD:
                name, future = waiting.popleft()
                yield name, future.result()
        while waiting:
            name, future = waiting.popleft()
            yield name, future.result()
    finally:
        for _, future in waiting:
            future.cancel()


def _pieces(reader: Reader, each: _Output, scale: np.float32 | None) -> Iterator[memoryview]:
    """The bytes of one tensor of the result, a slice at a time, each in memory of its own."""
    entry = cast(TensorEntry, each.source)
    if not each.converted:
        for part in slices(reader, entry):
            yield memoryview(part.tobytes())
    elif entry.dtype == "F32":
        for part in slices(reader, entry):
            yield encode(part.view(np.float32), scale).data
    else:
        table = code_table(entry.dtype, scale)
        for part in slices(reader, entry):
            yield look_up(table, part).data


def _ordered(measured: list[Measured], model: Architecture) -> list[Measured]:
    """In the order of the model's modules; tensors that the model does not have come last."""
    place = {name: index for index, name in enumerate(model.tensors())}
    return sorted(measured, key=lambda each: (place.get(each.name, len(place)), each.name))


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Register `convert SRC DST [--form scaled|plain] [--report FILE]`."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "convert",
        help="make the FP8 file of a Wan VACE model",
        description="Converts the fp16 (or bf16, fp32) file of a Wan VACE diffusion model to "
        "float8_e4m3fn as ComfyUI loads it, and reports what that does to the weights.",
    )
    parser.add_argument("source", type=Path, metavar="SRC", help="the 16-bit safetensors file")
    parser.add_argument("target", type=Path, metavar="DST", help="the FP8 file to write")
    parser.add_argument("--form", choices=FORMS, default="scaled", help="default: scaled")
    parser.add_argument("--report", type=Path, metavar="FILE", help="also write the report as JSON")
    parser.add_argument("--quiet", action="store_true", help="print no progress and no table")
    parser.set_defaults(run=run)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Carry out the `convert` command."""
    result = convert(
        arguments.source,
        arguments.target,
        form=arguments.form,
        progress=None if arguments.quiet else Ticker("converting"),
    )
    if arguments.report is not None:
        write_durably(arguments.report, result.report.as_json().encode())
    if not arguments.quiet:
        sys.stdout.write(result.report.as_text())
    sys.stdout.write(f"{result.sha256}  {arguments.target} ({readable_bytes(result.size)})\n")
    return 0


class Ticker:
    """Prints a line of progress to stderr for every further tenth."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._last = -1

    def __call__(self, done: int, total: int) -> None:
        """Take note of `done` of `total` bytes."""
        tenth = done * 10 // total if total else 10
        if tenth > self._last:
            self._last = tenth
            sys.stderr.write(
                f"{self._what}: {readable_bytes(done)} of {readable_bytes(total)} ({tenth}0 %)\n"
            )
            sys.stderr.flush()
