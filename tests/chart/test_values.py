"""values.yaml, its schema and its page say the same."""

import json

import pytest
import yaml

from charts.readme import CHART, ValuesError, descriptions, leaves, schema, wanted

TEXT = (CHART / "values.yaml").read_text(encoding="utf-8")


def test_schema_and_readme_are_what_the_values_give() -> None:
    """Prevents a page and a schema that describe another chart."""
    for path, text in wanted().items():
        assert path.read_text(encoding="utf-8") == text, "run: python -m charts.readme"


def test_every_value_is_described() -> None:
    """Prevents a value that nobody can look up."""
    described = descriptions(TEXT)
    assert {path for path, _ in leaves(yaml.safe_load(TEXT), described)} == set(described)
    with pytest.raises(ValuesError, match="b has no description"):
        list(leaves({"a": 1, "b": 2}, {"a": "text"}))


def test_a_comment_that_describes_nothing_is_refused() -> None:
    """Prevents a description that slid away from its value."""
    with pytest.raises(ValuesError, match="stands above no value"):
        descriptions("a: 1\nb:\n  # -- of an item\n  - item\n")


def test_the_schema_knows_no_other_names() -> None:
    """Prevents a typo from leaving a value at its default in silence."""
    document = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))

    def closed(part: dict[str, object], path: str) -> None:
        for name, below in dict(part.get("properties") or {}).items():  # type: ignore[call-overload]
            if "properties" in below:
                assert below["additionalProperties"] is False, f"{path}.{name}"
                closed(below, f"{path}.{name}")

    assert document["additionalProperties"] is False
    closed(document, "")
    assert document == schema(yaml.safe_load(TEXT), descriptions(TEXT))
