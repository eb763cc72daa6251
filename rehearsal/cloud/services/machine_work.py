"""Work on machines: it takes longer than a request may, and it can fail.

Work on one machine runs in order, beside requests and without ``cloud.lock``. While it lasts the
instance keeps its passing status (Pending, Starting, Stopping), so a status never says more than
the machine does.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rehearsal.cloud.errors import ApiError
from rehearsal.cloud.state import Cloud

T = TypeVar("T")

_log = logging.getLogger(__name__)
_guard = threading.Lock()
_busy: dict[str, int] = {}
_last: dict[str, threading.Thread] = {}


def busy(instance_id: str) -> bool:
    """Whether work on this machine is under way in this process."""
    with _guard:
        return _busy.get(instance_id, 0) > 0


@contextmanager
def working(instance_id: str) -> Iterator[None]:
    """Mark the machine as busy for the duration of the block."""
    with _guard:
        _busy[instance_id] = _busy.get(instance_id, 0) + 1
    try:
        yield
    finally:
        with _guard:
            _busy[instance_id] -= 1
            if not _busy[instance_id]:
                del _busy[instance_id]


def ask(what: str, call: Callable[[], T]) -> T:
    """Call the hypervisor; its failure becomes an error that names what was being done.

    The real cloud has no such error: it stands for the rehearsal's own machine room, so its code
    says so and no client retries it.
    """
    try:
        return call()
    except ApiError:
        raise
    except Exception as error:
        _log.exception("machine work failed: %s", what)
        raise ApiError(
            "Rehearsal.MachineFailure",
            f"The machine room of the rehearsal could not {what}: {error}. The real cloud has no "
            "such error; look at the emulator's log.",
            400,
        ) from error


def later(
    cloud: Cloud,
    instance_id: str,
    what: str,
    work: Callable[[], None],
    *,
    failed: Callable[[], None],
) -> None:
    """Run ``work`` on a machine after all earlier work on it, in the background.

    ``failed`` runs under ``cloud.lock`` when ``work`` raises; it puts the row right again.
    """
    with _guard:
        before = _last.get(instance_id)
        _busy[instance_id] = _busy.get(instance_id, 0) + 1

    def run() -> None:
        if before is not None:
            before.join()
        try:
            work()
        except Exception:
            _log.exception("machine work failed: %s", what)
            with cloud.lock:
                failed()
        finally:
            with _guard:
                _busy[instance_id] -= 1
                if not _busy[instance_id]:
                    del _busy[instance_id]
                if _last.get(instance_id) is threading.current_thread():
                    del _last[instance_id]
            cloud.save()

    with cloud.lock:
        thread = cloud.background(f"{instance_id}: {what}", run)
        with _guard:
            if _busy.get(instance_id):
                _last[instance_id] = thread
