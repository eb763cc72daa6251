"""Where a file is looked for: URL forms, order, endpoints, and what the user may write."""

from __future__ import annotations

from pathlib import Path

import pytest
from vace_weights.errors import ManifestError
from vace_weights.manifest import Source, SourceFile
from vace_weights.sources import GivenSource, Place, given_in_environment, parse_given, places

SHA256 = "a" * 64
REPO = "Comfy-Org/Wan_2.1_ComfyUI_repackaged"
PATH = "split_files/vae/wan_2.1_vae.safetensors"
COMMIT = "dfcea77bcf258496e20c69cd84e8e8e41909bb3b"
FILE = SourceFile(
    "wan21_vace_vae.safetensors",
    10,
    SHA256,
    (
        Source("modelscope", REPO, "master", PATH),
        Source("huggingface", REPO, COMMIT, PATH),
    ),
)
FINAL = "vae/wan21_vace_vae.safetensors"
HUB = f"https://huggingface.co/{REPO}/resolve/{COMMIT}/{PATH}"


def urls(*texts: str, environment: dict[str, str] | None = None, only: bool = False) -> list[str]:
    found = places(
        FILE, parse_given(texts), final=FINAL, only_given=only, environment=environment or {}
    )
    return [place.url for place in found]


def test_hub_urls_have_the_documented_forms() -> None:
    """Prevents a 404 from every hub."""
    assert urls() == [f"https://www.modelscope.cn/models/{REPO}/resolve/master/{PATH}", HUB]


def test_a_hub_named_alone_is_asked_first_for_the_same_revision() -> None:
    """Prevents operators in China from having to write a revision down twice."""
    mirror = f"https://hf-mirror.com/{REPO}/resolve/{COMMIT}/{PATH}"
    assert urls("hf-mirror")[0] == mirror
    assert urls("huggingface")[0] == HUB
    assert urls("hf-mirror", only=True) == [mirror]
    assert len(urls("huggingface")) == 2, "and is not asked twice"


def test_a_hub_with_repository_and_revision_keeps_the_path() -> None:
    """Prevents a private copy of the repository from being unusable."""
    assert urls("modelscope:me/mine@v2")[0] == (
        f"https://www.modelscope.cn/models/me/mine/resolve/v2/{PATH}"
    )


def test_endpoints_come_from_the_environment() -> None:
    """Prevents a rehearsal from being another program than the real one."""
    environment = {
        "HF_ENDPOINT": "http://127.0.0.1:1/",
        "VACE_MODELSCOPE_ENDPOINT": "http://127.0.0.1:2",
        "VACE_OSS_ENDPOINT": "https://oss-cn-hangzhou-internal.aliyuncs.com",
    }
    found = urls("oss:bucket/wan", environment=environment)
    base = "https://bucket.oss-cn-hangzhou-internal.aliyuncs.com/wan/"
    assert found[0] == f"{base}wan_2.1_vae.safetensors"
    assert f"{base}{FINAL}" in found
    assert f"http://127.0.0.1:1/{REPO}/resolve/{COMMIT}/{PATH}" in found
    assert f"http://127.0.0.1:2/models/{REPO}/resolve/master/{PATH}" in found


def test_a_web_folder_is_searched_under_the_published_and_the_final_name() -> None:
    """Prevents a site from having to know which of both names to use."""
    assert urls("http:https://host/w/?signature=s", only=True) == [
        "https://host/w/wan_2.1_vae.safetensors?signature=s",
        "https://host/w/wan21_vace_vae.safetensors?signature=s",
        f"https://host/w/{FINAL}?signature=s",
    ]


def test_the_url_of_one_file_is_used_for_that_file_only() -> None:
    """Prevents a signed URL of one file from being asked for every other file."""
    own = "https://host/x/wan_2.1_vae.safetensors?Signature=s"
    other = "https://host/x/umt5.safetensors?Signature=s"
    assert urls(own, other)[0] == own
    assert other not in urls(own, other)


def test_a_signature_is_never_in_a_label() -> None:
    """Prevents a signed URL from reaching a log."""
    given = parse_given(["http:https://host/x/wan_2.1_vae.safetensors?Signature=verysecret"])
    assert "verysecret" not in places(FILE, given, environment={})[0].label


def test_the_token_is_for_hugging_face_only_and_not_in_the_repr() -> None:
    """Prevents a token from reaching a mirror or a traceback."""
    found = places(FILE, parse_given(["hf-mirror"]), environment={"HF_TOKEN": "secret"})
    assert [place.token for place in found] == ["", "", "secret"]
    assert "secret" not in repr(found)


def test_a_folder_is_searched_under_every_name(tmp_path: Path) -> None:
    """Prevents a models folder of another machine from being unusable as a source."""
    file = tmp_path / FINAL
    file.parent.mkdir()
    file.touch()
    found = places(FILE, [GivenSource("folder", str(tmp_path))], final=FINAL, environment={})
    assert found[0] == Place(f"folder {file}", path=file)


def test_sources_of_the_environment_come_in_their_order() -> None:
    """Prevents an operator's order from being shuffled."""
    text = "folder:/a\n oss:b/c  https://host/d/"
    assert given_in_environment({"VACE_WEIGHT_SOURCES": text}) == [
        GivenSource("folder", "/a"),
        GivenSource("oss", "b/c"),
        GivenSource("http", "https://host/d/"),
    ]


def test_every_source_that_is_not_understood_is_named_at_once() -> None:
    """Prevents a fix, run, next error, fix, run."""
    with pytest.raises(ManifestError) as caught:
        parse_given(["ftp:x", "folder:", "modelscope:a/b", "folder:/ok"])
    assert len(caught.value.problems) == 3
    assert "folder:PATH" in str(caught.value)


def test_no_usable_source_is_an_error_that_lists_the_forms() -> None:
    """Prevents an empty list from looking like a network fault."""
    with pytest.raises(ManifestError, match="VACE_OSS_ENDPOINT"):
        places(FILE, parse_given(["oss:bucket"]), only_given=True, environment={})
