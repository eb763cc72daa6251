"""Was this video made by this run? Name, file and embedded graph must all say so."""

from __future__ import annotations

from collections.abc import Iterable

from smoke_tests.comfy_client import OutputFile, Workflow, WorkflowError
from smoke_tests.media import Clip, Finding, MediaError

CHECK = "made_by_this_run"


def made_by_this_run(
    clip: Clip,
    file: OutputFile,
    submitted: Workflow,
    *,
    seen_sha256: Iterable[str],
    embeds_graph: bool = True,
) -> Finding:
    """Check a downloaded video against the graph that was submitted.

    The prefix is random, so no earlier file can have the name; the hash tells apart a new name
    for an old file; the graph that VHS embeds into the file tells whose seed made it.

    Args:
        seen_sha256: hashes of videos of earlier runs.
        embeds_graph: whether the workflow stores its graph in the file (save_metadata).

    Raises:
        MediaError: one of the three contradicts.
    """
    prefix, seed = str(submitted.value("filename_prefix")), submitted.value("seed")
    if not file.filename.startswith(prefix):
        raise MediaError(
            CHECK,
            measured=f"file name {file.filename}",
            limit=f"a name that begins with {prefix}",
            reason="The server returned the file of another job.",
        )
    if clip.sha256 in set(seen_sha256):
        raise MediaError(
            CHECK,
            measured=f"sha256 {clip.sha256}",
            limit="content that no earlier run made",
            reason="With a new seed the same bytes cannot come out of a model that ran: "
            "the server returned an old file under a new name.",
        )
    embedded = clip.embedded_graph
    if embedded is None and not embeds_graph:
        return Finding(
            CHECK,
            f"{file.filename}, new content",
            f"prefix {prefix}, new content",
            "An old or cached file proves nothing about the service as it is now.",
        )
    if embedded is None:
        return Finding(
            CHECK,
            f"{file.filename}, new content, no graph embedded",
            f"prefix {prefix}, new content, embedded seed {seed}",
            "Without the embedded graph (save_metadata) the seed cannot be confirmed.",
            level="warning",
        )
    try:
        made_with = Workflow(embedded).value("seed")
    except WorkflowError as error:
        made_with = f"unknown ({error.what})"
    if made_with != seed:
        raise MediaError(
            CHECK,
            measured=f"embedded seed {made_with}",
            limit=f"seed {seed}",
            reason="The file was made from another graph than the one submitted.",
        )
    return Finding(
        CHECK,
        f"{file.filename}, new content, embedded seed {made_with}",
        f"prefix {prefix}, new content, embedded seed {seed}",
        "An old or cached file proves nothing about the service as it is now.",
    )
