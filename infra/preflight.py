"""Preflight: what can be known surely before anything is made, in one sentence when it is wrong.

It asks with the very client that recovery and the readiness check use, whose chain of credentials
is not the provider's own: keys that only one of them finds would fail ``up`` at its last step.
The calls run beside the program, which waits for the provider to start in the meantime.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from infra import advice, openapi

CENTRAL_REGION = "cn-hangzhou"
"""Its endpoint lists all regions, also to accounts that work elsewhere."""
RETRY_SECONDS = 10.0
"""A preview should not hang for a cloud that does not answer."""


class PreflightError(Exception):
    """The cloud cannot be used as the config wants; one sentence: what, why, what to do."""


def check(region: str, clients: Callable[[str], openapi.Api]) -> None:
    """Ask, without changing anything, whether the credentials are valid and the region exists.

    Args:
        clients: makes a caller of ECS in a region.

    Raises:
        PreflightError: credentials are missing, wrong or expired, the region does not exist, or
            the cloud does not answer.
    """
    try:
        regions = _regions(region, clients)
    except Exception as error:
        if openapi.forbidden(error):
            return  # ecs:DescribeRegions is not needed otherwise; the provider checks the name
        sentence = advice.of_call(error)
        if not sentence:
            raise
        raise PreflightError(sentence) from error
    if region not in regions:
        raise PreflightError(
            f'region: "{region}" does not exist or is not open to this account; set the config '
            f"key region to one of: {', '.join(sorted(regions))}"
        )


def _regions(region: str, clients: Callable[[str], openapi.Api]) -> list[str]:
    try:
        answer = clients(region)("DescribeRegions", {})
    except Exception as error:
        # A region that does not exist has no endpoint either: its name cannot be resolved.
        if region == CENTRAL_REGION or not (openapi.unreachable(error) or openapi.missing(error)):
            raise
        answer = clients(CENTRAL_REGION)("DescribeRegions", {})
    return [str(row["RegionId"]) for row in answer["Regions"]["Region"]]


class Preflight:
    """A check in a thread of its own."""

    def __init__(
        self,
        region: str,
        clients: Callable[[str], openapi.Api],
        also: Callable[[], None] = lambda: None,
    ) -> None:
        self._problem: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(region, clients, also), daemon=True)
        self._thread.start()

    def _run(
        self, region: str, clients: Callable[[str], openapi.Api], also: Callable[[], None]
    ) -> None:
        try:
            check(region, clients)
            also()
        except Exception as error:
            self._problem = error

    def finish(self) -> None:
        """Wait for the check's end.

        Raises:
            PreflightError: see :func:`check`.
        """
        self._thread.join()
        if self._problem:
            raise self._problem


@contextmanager
def beside(
    region: str,
    clients: Callable[[str], openapi.Api] | None = None,
    also: Callable[[], None] = lambda: None,
) -> Iterator[Callable[[], None]]:
    """Check while the block runs; it calls what it is given before it makes anything.

    ``also`` is checked after that, and raises a :class:`PreflightError` of its own.

    An exception of the block that the check explains, or that holds a code which
    :mod:`infra.advice` knows, leaves as a :class:`PreflightError`: a question to the provider is
    the first to meet bad credentials or an unknown region, and its message is a page long.
    """
    checked = Preflight(region, clients or _client, also)
    try:
        yield checked.finish
    except PreflightError:
        raise
    except Exception as error:
        checked.finish()
        found = advice.sentences(str(error))
        if not found:
            raise
        raise PreflightError("\n".join(found)) from error


def _client(region: str) -> openapi.Api:
    return openapi.client("ecs", region, retry_seconds=RETRY_SECONDS)
