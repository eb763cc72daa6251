"""Receipts of derived files: what a file was made from, by what, and what came out.

A receipt lies beside its file as `<name>.receipt.json`. It answers whether the conversion has to
be done again, and gives the manifest the size and hash that were not known before.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from vace_weights.files import write_durably
from vace_weights.manifest import Derivation

SCHEMA = 1


@dataclass(frozen=True)
class Receipt:
    """The result of one conversion."""

    converter: str
    source_name: str
    source_sha256: str
    size: int
    sha256: str

    def fits(self, derivation: Derivation) -> bool:
        """Whether it is the receipt of this very conversion of this very source."""
        return (
            self.converter == derivation.converter
            and self.source_sha256 == derivation.source.sha256
        )


def receipt_path(file: Path) -> Path:
    """Where the receipt of a file is."""
    return file.with_name(f"{file.name}.receipt.json")


def write_receipt(file: Path, receipt: Receipt) -> None:
    """Write the receipt of a file."""
    document = {
        "schema": SCHEMA,
        "converter": receipt.converter,
        "source": {"name": receipt.source_name, "sha256": receipt.source_sha256},
        "size": receipt.size,
        "sha256": receipt.sha256,
    }
    write_durably(receipt_path(file), json.dumps(document, indent=2).encode() + b"\n")


def read_receipt(file: Path) -> Receipt | None:
    """The receipt of a file; None when there is none that can be read."""
    try:
        document = json.loads(receipt_path(file).read_text(encoding="utf-8"))
        if document["schema"] != SCHEMA:
            return None
        return Receipt(
            converter=str(document["converter"]),
            source_name=str(document["source"]["name"]),
            source_sha256=str(document["source"]["sha256"]),
            size=int(document["size"]),
            sha256=str(document["sha256"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
