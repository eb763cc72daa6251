"""What a video costs, from the machine's price per hour and where that is from."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

#: The deployment's list of machines and prices: data, read as such.
CATALOGUE = Path(__file__).parents[2] / "infra" / "catalogue" / "instances.toml"


@dataclass(frozen=True)
class Price:
    """A machine's price in a currency per hour, and its source in words."""

    per_hour: float
    currency: str
    source: str

    def of_seconds(self, seconds: float) -> float:
        """Price of a time."""
        return self.per_hour * seconds / 3600


def from_catalogue(instance_type: str, region: str, path: Path = CATALOGUE) -> Price | None:
    """List price of a machine; None where the catalogue lacks it, or is not there.

    The last row that fits counts, as in the deployment.
    """
    if not path.is_file():
        return None
    found = None
    for row in tomllib.loads(path.read_text(encoding="utf-8"))["prices"]:
        if row["type"] == instance_type and region in row["regions"]:
            source = f"{instance_type} in {region}: {row['source']}, {row['date'].isoformat()}"
            found = Price(float(row["cny_per_hour"]), "CNY", source)
    return found


def choose(
    per_hour: float | None, currency: str, instance_type: str, region: str
) -> tuple[Price | None, str]:
    """The price to use, or None and why there is none. One that was given goes first."""
    if per_hour is not None:
        return Price(per_hour, currency, "given as --price-per-hour"), ""
    if not instance_type or not region:
        return None, "no price: give --price-per-hour, or --instance-type and --region"
    found = from_catalogue(instance_type, region)
    if found is None:
        return None, f"no price: the catalogue knows none for {instance_type} in {region}"
    return found, ""


def outputs(path: str) -> dict[str, object]:
    """A stack's outputs from a file that `settings.resolve` has checked before."""
    found = json.loads(Path(path).read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else {}
