"""Rotate the API token or the TLS key of a running deployment: ``python -m infra.rotate token``.

Raises the generation in the stack's config and runs ``pulumi up``, which makes the new secret,
stores it, and waits until the node uses it. Callers keep working until then.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence

KEYS = {"token": "tokenGeneration", "tls": "tlsGeneration"}

Run = Callable[[list[str]], "subprocess.CompletedProcess[str]"]


def _run(command: list[str]) -> "subprocess.CompletedProcess[str]":
    capture = "get" in command
    return subprocess.run(command, check=False, text=True, capture_output=capture)


def rotate(what: str, pulumi_options: Sequence[str], run: Run = _run) -> int:
    """Rotate ``what`` ("token" or "tls") and return the exit status of ``pulumi up``.

    A key that is not in the stack's config yet has generation 1, as ``Pulumi.yaml`` says.
    """
    key = KEYS[what]
    answer = run(["pulumi", "config", "get", key, *pulumi_options])
    current = int(answer.stdout.strip()) if answer.returncode == 0 else 1
    done = run(["pulumi", "config", "set", key, str(current + 1), *pulumi_options])
    if done.returncode != 0:
        return done.returncode
    status = run(["pulumi", "up", "--yes", "--skip-preview", *pulumi_options]).returncode
    if status != 0:
        print(
            f"{key} is {current + 1} now, but `pulumi up` ended with status {status}. When its "
            "cause is mended, run `pulumi up`; another rotation is not needed.",
            file=sys.stderr,
        )
    return status


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of ``python -m infra.rotate``."""
    parser = argparse.ArgumentParser(prog="python -m infra.rotate", description=__doc__)
    parser.add_argument("what", choices=sorted(KEYS), help="the secret to make anew")
    parser.add_argument("--stack", help="stack to work on; default: the selected one")
    parser.add_argument("--config-file", help="config file of the stack, if it is not the usual")
    options = parser.parse_args(argv)
    extra = ["--stack", options.stack] if options.stack else []
    extra += ["--config-file", options.config_file] if options.config_file else []
    return rotate(options.what, extra)


if __name__ == "__main__":
    sys.exit(main())
