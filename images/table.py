"""``python -m images variants``: the table of GPUs, drivers and variants, for people."""

from __future__ import annotations

import argparse

from images.variants import gpus, variants, variants_on, version

_NEWEST = "9999"


def lines() -> list[str]:
    """Return the table as text."""
    found = ["variant  CUDA  compute capability >= driver"]
    for variant in variants():
        needs = "  ".join(
            f"{key}>={variant.least_driver[key]}" for key in variant.compute_capabilities
        )
        found.append(f"{variant.name:7}  {variant.cuda or '-':4}  {needs or 'no GPU'}")
    found += ["", "GPU                                   capability  driver -> variant"]
    for gpu in gpus():
        if gpu.drivers:
            choices = [f"{driver} {variant.name}" for driver, variant in gpu.choices()]
        else:
            choices = [
                f"from {variant.least_driver[gpu.compute_capability]} {variant.name}"
                for variant in variants_on(gpu.compute_capability, _NEWEST)
            ]
        choices.sort(key=lambda text: version(text.split()[-2]))
        found.append(f"{gpu.gpu:36}  {gpu.compute_capability:10}  {', '.join(choices)}")
    return found


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``variants``."""
    parser = subparsers.add_parser("variants", help="print which variant fits which GPU and driver")
    parser.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    """Print the table."""
    print("\n".join(lines()))
    return 0
