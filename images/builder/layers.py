"""Reads layers as streams: compressed bytes in, files out, digests checked on the way.

A layer is never unpacked to disk. Memory stays bounded by one buffer, whatever the layer's size.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from images.builder.errors import InputError, ToolMissingError
from images.builder.oci import BlobSource, Descriptor

CHUNK = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class LayerError(InputError):
    """A layer's bytes are not those that the image names."""


class HashingReader(io.RawIOBase):
    """Hashes and counts what passes through."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream
        self._hash = hashlib.sha256()
        self.count = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read from the stream below."""
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self._hash.update(data)
        self.count += len(data)
        return len(data)

    @property
    def digest(self) -> str:
        """``sha256:…`` of what was read so far."""
        return f"sha256:{self._hash.hexdigest()}"


@contextlib.contextmanager
def open_layer(
    source: BlobSource, descriptor: Descriptor, diff_id: str | None
) -> Iterator[tarfile.TarFile]:
    """Iterate over a layer's tar; at the end both digests have been checked.

    Raises LayerError when the blob's size or digest, or the digest of what it unpacks to, differs
    from what manifest and config say, or when it is not a tar archive; ToolMissingError when it
    is compressed with zstd and `zstd` is not installed.
    """
    with source.open(descriptor) as blob:
        compressed = HashingReader(blob)
        buffered = io.BufferedReader(compressed, CHUNK)
        broken: Exception | None = None
        plain: HashingReader | None = None
        try:
            with _decompressed(buffered) as stream:
                plain = HashingReader(stream)
                reader = io.BufferedReader(plain, CHUNK)
                with tarfile.open(fileobj=reader, mode="r|", bufsize=CHUNK) as tar:
                    yield tar
                _drain(reader)
        except (tarfile.TarError, EOFError, OSError) as error:
            broken = error
        # The blob's own digest is the better explanation of anything that went wrong above.
        _drain(buffered)
        if compressed.digest != descriptor.digest or compressed.count != descriptor.size:
            raise LayerError(
                f"{source.name}: a layer of {descriptor.size} bytes with {descriptor.digest} was "
                f"expected, but {compressed.count} bytes with {compressed.digest} came. It was "
                "damaged or exchanged; copy the image again."
            )
        if broken is not None:
            raise LayerError(
                f"{source.name}: layer {descriptor.digest} cannot be unpacked: {broken}. "
                "Build the image again."
            ) from broken
        if diff_id is not None and plain is not None and plain.digest != diff_id:
            raise LayerError(
                f"{source.name}: layer {descriptor.digest} unpacks to {plain.digest}, but the "
                f"image's config says {diff_id}. Build the image again."
            )


@contextlib.contextmanager
def _decompressed(stream: io.BufferedReader[Any]) -> Iterator[BinaryIO]:
    magic = stream.peek(4)[:4]
    if magic.startswith(_GZIP_MAGIC):
        with gzip.GzipFile(fileobj=stream) as unpacked:
            yield io.BufferedReader(unpacked, CHUNK)
    elif magic == _ZSTD_MAGIC:
        with _zstd(stream) as unpacked_zstd:
            yield unpacked_zstd
    else:
        yield stream


@contextlib.contextmanager
def _zstd(stream: BinaryIO) -> Iterator[BinaryIO]:
    if shutil.which("zstd") is None:
        raise ToolMissingError("zstd", "zstd", "read layers that are compressed with zstd")
    process = subprocess.Popen(
        ["zstd", "--decompress", "--stdout", "--quiet", "--long=31"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
    assert process.stdin is not None  # noqa: S101  # given by PIPE; tells mypy
    assert process.stdout is not None  # noqa: S101
    assert process.stderr is not None  # noqa: S101
    feeder = _Feeder(stream, process.stdin)
    feeder.start()
    try:
        yield cast(BinaryIO, process.stdout)
        process.stdout.close()
        message = process.stderr.read().decode(errors="replace").strip()
        if process.wait() != 0:
            raise OSError(f"zstd: {message or f'exit status {process.returncode}'}")
        feeder.join()
        if feeder.error is not None:
            raise feeder.error
    finally:
        process.kill()
        process.wait()
        feeder.join()
        for pipe in (process.stdin, process.stdout, process.stderr):
            # Closing flushes, and zstd may have ended before it took everything.
            with contextlib.suppress(OSError):
                pipe.close()


class _Feeder(threading.Thread):
    """Writes compressed bytes into zstd while the other thread reads what comes out."""

    def __init__(self, source: BinaryIO, target: Any) -> None:
        super().__init__(name="feeds zstd", daemon=True)
        self._source = source
        self._target = target
        self.error: Exception | None = None

    def run(self) -> None:
        """Copy everything, then close; a reader that has gone ends it silently."""
        try:
            while chunk := self._source.read(CHUNK):
                view = memoryview(chunk)
                while view:
                    view = view[os.write(self._target.fileno(), view) :]
        except BrokenPipeError:
            pass
        except Exception as error:  # told by the thread that reads
            self.error = error
        finally:
            with contextlib.suppress(OSError):
                self._target.close()


def _drain(stream: BinaryIO) -> None:
    while stream.read(CHUNK):
        pass
