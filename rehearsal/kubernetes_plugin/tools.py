"""Run helm and kubectl for one cluster, and end them politely when Pulumi is interrupted."""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path


class ToolError(Exception):
    """A tool failed; the message holds what it said."""


class Processes:
    """The tools that run now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: set[subprocess.Popen[str]] = set()
        self._cancelled = False

    def run(
        self,
        command: list[str],
        environment: dict[str, str],
        stdin: str | None,
        *,
        reading: bool = False,
    ) -> tuple[int, str, str]:
        """Run ``command`` to its end; return its status, output and error text.

        With ``reading`` it runs even after an interrupt: what an interrupted change has left must
        still be recorded.

        Raises:
            ToolError: Pulumi was interrupted, so nothing new is started.
        """
        with self._lock:
            if self._cancelled and not reading:
                raise ToolError("interrupted: nothing more is started. Run `pulumi up` again.")
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                # Ctrl-C in the terminal reaches helm once, through cancel(): a second interrupt
                # would end it before it has written what became of the release.
                process_group=0,
            )
            self._live.add(process)
        try:
            output, errors = process.communicate(stdin)
        finally:
            with self._lock:
                self._live.discard(process)
        return process.returncode, output, errors

    def cancel(self) -> None:
        """Interrupt what runs and start nothing more."""
        with self._lock:
            self._cancelled = True
            for process in self._live:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGINT)

    def idle(self) -> bool:
        """Tell whether no tool runs."""
        with self._lock:
            return not self._live


def find(name: str) -> str:
    """Return the program ``name``: $VACE_<NAME>, else from PATH.

    Raises:
        ToolError: there is none.
    """
    variable = f"VACE_{name.upper()}"
    given = os.environ.get(variable, "")
    found = shutil.which(given or name)
    if not found:
        raise ToolError(
            f"the program {given or name!r} was not found; the stand-in for the Kubernetes plugin "
            f"works through it. Set {variable} to its path or put it on PATH (`make toolchain` "
            "builds it)."
        )
    return found


def environment(kubeconfig: Path) -> dict[str, str]:
    """Return the environment of the tools: this one's, with only the given cluster in it."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HELM_KUBE", "KUBECONFIG"))}
    return {**kept, "KUBECONFIG": str(kubeconfig)}
