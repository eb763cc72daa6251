"""The report of a conversion: what each form does to each class of tensors, and which one wins.

Figures are given for both forms whichever was written, and for the tensors that stay in the
source's type too (marked `kept`): they say what casting them would have cost.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vace_weights.figures import Figures
from vace_weights.quantise import FORMS, Form

FORMAT = 1


@dataclass(frozen=True)
class Measured:
    """One tensor of the source: its class, whether it became FP8, sizes in bytes, figures."""

    name: str
    tensor_class: str
    converted: bool
    source_bytes: int
    target_bytes: int
    figures: Mapping[Form, Figures]


@dataclass(frozen=True)
class Row:
    """One class of tensors together."""

    tensor_class: str
    converted: bool
    tensors: int
    source_bytes: int
    target_bytes: int
    figures: Mapping[Form, Figures]


@dataclass(frozen=True)
class Report:
    """Rows by class, in the order of the model, and the totals of what became FP8."""

    form: Form
    rows: tuple[Row, ...]
    total: Row

    @property
    def favoured(self) -> Form:
        """The form with the higher signal to noise ratio over all converted weights.

        A form that clamps weights the other one keeps never wins.
        """
        figures = self.total.figures
        return max(FORMS, key=lambda form: (-figures[form].saturated, figures[form].sqnr_db))

    def as_dict(self) -> dict[str, Any]:
        """The JSON form. Infinite ratios (nothing was lost) are null."""
        return {
            "format": FORMAT,
            "form": self.form,
            "favoured": self.favoured,
            "classes": [_row_as_dict(row) for row in self.rows],
            "converted": _row_as_dict(self.total),
        }

    def as_json(self) -> str:
        """The JSON text of `as_dict`, with a newline at its end."""
        return json.dumps(self.as_dict(), indent=1) + "\n"

    def as_text(self) -> str:
        """A table for people: a line a class and form, the converted total, and the verdict."""
        lines = [_TITLE, "-" * len(_TITLE)]
        for row in (*self.rows, self.total):
            lines += [_line(row, form, first=form == FORMS[0]) for form in FORMS]
        scaled, plain = (self.total.figures[form] for form in FORMS)
        lines.append(
            f"favoured: {self.favoured} (scaled {_decibels(scaled)} dB, plain {_decibels(plain)} "
            f"dB over all converted weights; saturated {scaled.saturated} and {plain.saturated}). "
            f"Written: {self.form}."
        )
        return "\n".join(lines) + "\n"


def summarise(form: Form, tensors: list[Measured]) -> Report:
    """The report over all tensors of a conversion, which wrote `form`."""
    groups: dict[tuple[str, bool], list[Measured]] = {}
    for tensor in tensors:
        groups.setdefault((tensor.tensor_class, tensor.converted), []).append(tensor)
    rows = [_row(name, converted, members) for (name, converted), members in groups.items()]
    rows.sort(key=lambda row: not row.converted)  # stable: the order of the model otherwise
    total = _row("all converted", True, [tensor for tensor in tensors if tensor.converted])
    return Report(form, tuple(rows), total)


def _row(name: str, converted: bool, members: list[Measured]) -> Row:
    return Row(
        name,
        converted,
        len(members),
        sum(member.source_bytes for member in members),
        sum(member.target_bytes for member in members),
        {form: Figures.total(member.figures[form] for member in members) for form in FORMS},
    )


def _row_as_dict(row: Row) -> dict[str, Any]:
    return {
        "class": row.tensor_class,
        "converted": row.converted,
        "tensors": row.tensors,
        "elements": row.figures[FORMS[0]].elements,
        "source_bytes": row.source_bytes,
        "target_bytes": row.target_bytes,
        **{
            form: {
                "relative_error": figures.relative_error,
                "mean_relative_error": figures.mean_relative_error,
                "sqnr_db": figures.sqnr_db if math.isfinite(figures.sqnr_db) else None,
                "cosine": figures.cosine,
                "saturated": figures.saturated,
                "underflow_share": figures.underflow_share,
            }
            for form, figures in row.figures.items()
        },
    }


_TITLE = (
    f"{'class':<26} {'tensors':>7} {'MB before':>10} {'MB after':>9} {'form':<6} "
    f"{'rel. error':>10} {'mean rel.':>10} {'SQNR dB':>8} {'cosine':>9} {'saturated':>9} "
    f"{'to zero':>9}"
)


def _line(row: Row, form: Form, *, first: bool) -> str:
    figures = row.figures[form]
    name = row.tensor_class if row.converted else f"{row.tensor_class} (kept)"
    left = (
        f"{name:<26} {row.tensors:>7} {row.source_bytes / 1e6:>10.2f} "
        f"{row.target_bytes / 1e6:>9.2f}"
        if first
        else " " * 55
    )
    return (
        f"{left} {form:<6} {figures.relative_error:>10.5f} {figures.mean_relative_error:>10.5f} "
        f"{_decibels(figures):>8} {figures.cosine:>9.6f} {figures.saturated:>9} "
        f"{figures.underflow_share:>9.2%}"
    )


def _decibels(figures: Figures) -> str:
    return f"{figures.sqnr_db:.2f}" if math.isfinite(figures.sqnr_db) else "inf"
