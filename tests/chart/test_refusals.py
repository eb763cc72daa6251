"""What the chart refuses, and in which words; and that no values at all crash a template."""

from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charts.readme import CHART, RULES, descriptions, leaves
from tests.chart.helm import IMAGES, merged, refusal, run

pytestmark = pytest.mark.engine

SENTENCES: dict[str, tuple[dict[str, Any], str]] = {
    "several ComfyUI": ({"comfyui": {"replicas": 2}}, "until jobs are queued outside ComfyUI"),
    "a tag": (
        {"images": {"gateway": {"digest": "", "tag": "v1"}}},
        "a tag may mean another image tomorrow",
    ),
    "no certificate": ({"tls": {"selfSigned": False}}, "tls.existingSecret, tls.certManager"),
    "no issuer": (
        {"tls": {"certManager": {"enabled": True}}},
        "cert-manager has no default issuer",
    ),
    "two GPUs": ({"gpu": {"count": 2}}, "ComfyUI makes a video on one GPU"),
    "ACS without a card": ({"acs": {"enabled": True}}, "ACS places a GPU pod by this label"),
    "H20 asked as PPU": (
        {
            "acs": {"enabled": True, "gpuSeries": "GU8TF"},
            "gpu": {"resourceName": "alibabacloud.com/ppu"},
        },
        "stays pending",
    ),
    "a size that ACS rounds up": (
        {
            "acs": {"enabled": True, "gpuSeries": "A10"},
            "comfyui": {"resources": {"memory": "33Gi"}},
        },
        "here 8Gi to 32Gi",
    ),
    "fast without FP8": (
        {"acs": {"enabled": True, "gpuSeries": "T4"}, "speedProfile": "fast"},
        "compute capability 8.9",
    ),
    "weights nowhere": ({"weights": {"source": "claim"}}, "there is no place for the weights"),
    "two doors": (
        {
            "ingress": {"enabled": True, "host": "a.example.com"},
            "service": {"type": "LoadBalancer"},
        },
        "a second door",
    ),
    "an unenforced list": (
        {"networkPolicy": {"enabled": False, "allowedCidrs": ["10.0.0.0/8"]}},
        "nothing would enforce it",
    ),
    "a variable of the chart's own": (
        {"comfyui": {"extraEnv": [{"name": "COMFYUI_PORT", "value": "1"}]}},
        "contradict each other",
    ),
    "a selector's label": (
        {"gateway": {"podLabels": {"app.kubernetes.io/name": "x"}}},
        "would no longer find its pods",
    ),
    "too little disk": (
        {"comfyui": {"resources": {"ephemeralStorage": "1Gi"}}},
        "with the video that it makes",
    ),
}


@pytest.mark.parametrize("case", SENTENCES)
def test_a_contradiction_is_told_in_four_parts(case: str) -> None:
    """Prevents objects that cannot work, and a refusal that leaves one guessing."""
    values, words = SENTENCES[case]
    said = refusal(values)
    assert words in said
    for part in ("given", "Allowed:", "Why:", "What to do:"):
        assert part in said


def test_all_problems_are_told_at_once() -> None:
    """Prevents one run for each mistake."""
    said = refusal({"comfyui": {"replicas": 3}, "tls": {"selfSigned": False}})
    assert "comfyui.replicas" in said
    assert "- tls:" in said


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"replicas": 2}, "replicas"),
        ({"service": {"type": "NodePort"}}, "/service/type"),
        ({"images": {"comfyui": {"digest": "sha256:abc"}}}, "/images/comfyui/digest"),
        ({"comfyui": {"resources": {"memory": "64"}}}, "/comfyui/resources/memory"),
    ],
)
def test_the_schema_refuses_what_has_the_wrong_form(values: dict[str, Any], words: str) -> None:
    """Prevents a typo from being rendered."""
    assert words in refusal(values).replace(".", "/")


def _values() -> st.SearchStrategy[dict[str, Any]]:
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    found = []
    for path, default in leaves(yaml.safe_load(text), descriptions(text)):
        rule = RULES.get(path, {})
        if path.startswith("images."):
            continue
        if "enum" in rule:
            choice: st.SearchStrategy[Any] = st.sampled_from(rule["enum"])
        elif isinstance(default, bool):
            choice = st.booleans()
        elif isinstance(default, int):
            choice = st.integers(rule.get("minimum", 0), rule.get("maximum", 10**6))
        elif isinstance(default, str) and "pattern" in rule:
            choice = st.from_regex(rule["pattern"].replace(r"\d", "[0-9]"), fullmatch=True)
        elif isinstance(default, dict):
            choice = st.dictionaries(st.sampled_from(["a", "example.com/b"]), st.just("x"))
        else:
            continue
        found.append(choice.map(lambda value, path=path: (path, value)))
    return st.lists(st.one_of(found), max_size=6).map(_nested)


def _nested(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for path, value in pairs:
        nested = value
        for name in reversed(path.split(".")):
            nested = {name: nested}
        result = merged(result, nested)
    return result


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(_values())
def test_any_values_of_the_schema_render_or_are_refused_in_our_words(
    values: dict[str, Any],
) -> None:
    """Prevents a template that crashes, or renders what is no YAML."""
    ended = run(merged(IMAGES, values))
    if ended.returncode == 0:
        for each in yaml.safe_load_all(ended.stdout):
            assert each is None or (each["kind"] and each["metadata"]["name"])
    else:
        ours = "comfyui-vace cannot be rendered from these values" in ended.stderr
        assert ours or "values don't meet the specifications of the schema" in ended.stderr
