"""The report is what the default form was chosen by, so its verdict has to be right."""

import json
from pathlib import Path

import pytest
from vace_weights.cli import main
from vace_weights.convert import convert
from vace_weights.figures import Figures
from vace_weights.generate import SCALES, generate_vace
from vace_weights.quantise import Form
from vace_weights.report import Measured, summarise


def measured(scaled: Figures, plain: Figures) -> Measured:
    return Measured("x", "blocks.ffn.0", True, 2, 1, {"scaled": scaled, "plain": plain})


GOOD = Figures(elements=1, nonzero=1, weight_square=1, rounded_square=1, error_square=1e-4)
POOR = Figures(elements=1, nonzero=1, weight_square=1, rounded_square=1, error_square=1e-2)
CLAMPED = Figures(elements=1, nonzero=1, weight_square=1, error_square=1e-5, saturated=1)


@pytest.mark.parametrize(
    ("scaled", "plain", "expected"),
    [(GOOD, POOR, "scaled"), (POOR, GOOD, "plain"), (CLAMPED, POOR, "plain")],
)
def test_the_favoured_form_loses_least_and_never_clamps_more(
    scaled: Figures, plain: Figures, expected: Form
) -> None:
    """A few clamped weights hardly move an average and ruin a layer."""
    assert summarise("scaled", [measured(scaled, plain)]).favoured == expected


def test_the_figures_favour_the_default_form(tmp_path: Path) -> None:
    """The default is a claim about figures; with weights of the usual widths it has to hold."""
    source = tmp_path / "source"
    generate_vace(source, scale="small")
    report = convert(source, tmp_path / "target").report
    assert report.favoured == "scaled"
    scaled, plain = report.total.figures["scaled"], report.total.figures["plain"]
    assert scaled.sqnr_db > 31
    assert scaled.saturated == plain.saturated == 0
    assert scaled.underflow_share < 0.0005 < plain.underflow_share
    assert scaled.mean_relative_error < plain.mean_relative_error / 2


def test_text_and_json_hold_every_class_and_both_forms(tiny: Path, tmp_path: Path) -> None:
    """A report that leaves out a class cannot be argued with."""
    made = convert(tiny, tmp_path / "target")
    document = json.loads(made.report.as_json())
    names = [row["class"] for row in document["classes"]]
    assert len([name for name in names if "blocks." in name]) == 20
    kept = {row["class"] for row in document["classes"] if not row["converted"]}
    assert kept == {
        "patch_embedding",
        "text_embedding",
        "time_embedding",
        "time_projection",
        "norm",
        "bias",
        "modulation",
        "head",
        "vace_projection",
    }
    assert sum(row["tensors"] for row in document["classes"]) == len(SCALES["tiny"].tensors())
    assert document["favoured"] == made.report.favoured
    text = made.report.as_text()
    for name in names:
        assert name in text
    assert "favoured: scaled" in text


def test_the_command_converts_and_writes_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What an operator types: generate, convert with a report, and an error as a sentence."""
    source, target, report = (str(tmp_path / name) for name in ("source", "target", "report"))
    assert main(["generate", source, "--scale", "tiny"]) == 0
    assert main(["convert", source, target, "--report", report]) == 0
    printed = capsys.readouterr()
    assert "all converted" in printed.out
    assert target in printed.out
    assert "100 %" in printed.err
    assert json.loads(Path(report).read_text())["form"] == "scaled"
    assert main(["convert", target, source]) == 1
    assert "quantised already" in capsys.readouterr().err
