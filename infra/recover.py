"""Go on after the engine was killed: ``python -m infra.recover``, then ``pulumi up``.

A killed engine leaves a lock, and for each creation in flight a note in the state without an id:
the cloud may or may not have made the resource. This command removes the lock, looks for exactly
those resources, deletes what it finds, and clears the notes, so that the next ``pulumi up`` makes
them again and ``pulumi destroy`` leaves nothing behind.

It deletes only resources whose creation the state notes as unfinished, which bear this stack's
name, stand in no state, and carry this stack's tags or (because tags come a moment later) none.
What bears the name and another's tags is left, and said so.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from infra import advice, openapi
from infra.leftovers import Cloud

DEADLINE_SECONDS = 120
"""How long a deletion may wait for what depends on it to go."""
POLL_SECONDS = 2.0

PASSING = ("Incorrect", "Conflict", "Dependency", "Violation", "InUse", "Busy", "Locked", "Status")
"""Parts of codes that mean: it changes, or something still hangs on it. All others are final."""


class RecoveryError(Exception):
    """Recovery cannot go on; the message says why and what to do."""


def recover(
    state: dict[str, Any],
    cloud: Cloud,
    say: Callable[[str], None],
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Delete what the unfinished creations in ``state`` left; remove their notes from it.

    Returns:
        How many resources were deleted.

    Raises:
        RecoveryError: something could not be deleted, at once or within
            :data:`DEADLINE_SECONDS`.
    """
    deployment = state["deployment"]
    pending = deployment.get("pending_operations") or []
    creations = [item["resource"] for item in pending if item["type"] == "creating"]
    creations.sort(
        key=lambda item: cloud.order.index(item["type"]) if item["type"] in cloud.order else 99
    )
    deleted = 0
    for resource in creations:
        name = resource["urn"].rsplit("::", 1)[1]
        found = cloud.find(resource["type"], resource.get("inputs") or {})
        if not found:
            say(f"{resource['type']} {name}: the cloud had not made it")
        for item in found:
            if item.delete is None:
                say(
                    f"{resource['type']} {name}: left {item.label}, which has this stack's name "
                    "but the tags of another. Delete or rename it if `pulumi up` finds it in its "
                    "way"
                )
                continue
            _delete(item.label, item.delete, pause, clock)
            deleted += 1
            say(f"{resource['type']} {name}: deleted {item.label}, which stood in no state")
    deployment["pending_operations"] = [item for item in pending if item["type"] != "creating"]
    return deleted


def _delete(
    label: str,
    delete: Callable[[], object],
    pause: Callable[[float], None],
    clock: Callable[[], float],
) -> None:
    deadline = clock() + DEADLINE_SECONDS
    while True:
        try:
            delete()
        except Exception as error:
            if openapi.missing(error):
                return
            named = openapi.code(error)
            # What was made a moment ago may still be changing its status, or have dependants.
            passing = openapi.transient(error) or any(part in named for part in PASSING)
            if not passing or openapi.forbidden(error) or clock() > deadline:
                spent = f" within {DEADLINE_SECONDS} s" if passing else ""
                raise RecoveryError(
                    f"{label} could not be deleted{spent}: {openapi.said(error)}. "
                    f"{advice.remedy(named) or 'Delete it in the console'}; then run this command "
                    "again"
                ) from error
            pause(POLL_SECONDS)
        else:
            return


def restore_checkpoints(backend: Path) -> list[Path]:
    """Mend what a killed engine left half-written in a folder as backend; return those files.

    An empty checkpoint gets its backup: the state before the last step, with the note of what that
    step began, so nothing is lost. An attributes file that is no JSON is removed: it is written
    in place before the checkpoint is replaced, makes Pulumi say EOF, and holds only a checksum
    that nobody checks (gocloud.dev fileblob, attrs.go; a missing one is no error there).
    """
    mended = []
    for path in (backend / ".pulumi" / "stacks").rglob("*.json"):
        backup = path.with_name(f"{path.name}.bak")
        if path.stat().st_size == 0 and backup.exists():
            shutil.copyfile(backup, path)
            mended.append(path)
    for path in (backend / ".pulumi").rglob("*.attrs"):
        try:
            json.loads(path.read_bytes())
        except ValueError:
            path.unlink()
            mended.append(path)
    return mended


def _pulumi(
    arguments: list[str], options: Sequence[str], *, check: bool = True, stdin: str = ""
) -> str:
    ended = subprocess.run(
        ["pulumi", *arguments, *options], input=stdin, check=False, text=True, capture_output=True
    )
    if check and ended.returncode != 0:
        raise RecoveryError(f"`pulumi {' '.join(arguments)}` failed: {ended.stderr.strip()}")
    return ended.stdout


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of ``python -m infra.recover``."""
    parser = argparse.ArgumentParser(prog="python -m infra.recover", description=__doc__)
    parser.add_argument("--stack", help="stack to work on; default: the selected one")
    options = parser.parse_args(argv)
    stack = ["--stack", options.stack] if options.stack else []
    try:
        url = json.loads(_pulumi(["whoami", "--verbose", "--json"], []))["url"]
        if url.startswith("file://"):
            for path in restore_checkpoints(Path(url.removeprefix("file://")).expanduser()):
                print(f"{path} was half-written; mended")
        _pulumi(["cancel", "--yes"], [options.stack] if options.stack else [], check=False)
        # Inputs may be encrypted; a name never is, but an export without secrets hides the object.
        state = json.loads(_pulumi(["stack", "export", "--show-secrets"], stack))
        resources = state["deployment"].get("resources") or []
        known = frozenset((item["type"], str(item["id"])) for item in resources if item.get("id"))
        region = _region(resources)
        clients: dict[str, openapi.Api] = {}

        def client(product: str) -> openapi.Api:
            return clients.setdefault(product, openapi.client(product, region))

        deleted = recover(state, Cloud(region, known, client), print)
        _pulumi(["stack", "import"], stack, stdin=json.dumps(state))
    except RecoveryError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        sentence = advice.of_call(error)
        if not sentence:
            raise
        print(
            f"error: {sentence}. The state was not changed; run this command again after that",
            file=sys.stderr,
        )
        return 1
    print(f"{deleted} resource(s) deleted. Go on with `pulumi up` or `pulumi destroy`.")
    return 0


def _region(resources: Sequence[Mapping[str, Any]]) -> str:
    for item in resources:
        if item["type"] == "pulumi:providers:alicloud" and item["inputs"].get("region"):
            return str(item["inputs"]["region"])
    raise RecoveryError(
        "the stack's state has no Alibaba Cloud provider yet, so nothing was created; "
        "just run `pulumi up`"
    )


if __name__ == "__main__":
    sys.exit(main())
