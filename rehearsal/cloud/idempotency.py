"""ClientToken: the same token with the same parameters gives the same answer, once done.

Answers are kept in the state file (sealed, because some hold secrets) for a day.
"""

from __future__ import annotations

import json

from rehearsal.cloud.errors import ApiError
from rehearsal.cloud.registry import Action, Answer, Request
from rehearsal.cloud.state import Cloud

_KEPT_S = 86400.0
_TABLE = "_client_tokens"


def key_of(action: Action, request: Request) -> str | None:
    """The key under which the answer of this request is kept; None when it carries no token."""
    token = request.get("ClientToken")
    if not token or action.read_only:
        return None
    if len(token) > 64 or not token.isascii():
        raise ApiError(
            "InvalidClientToken.Malformed",
            f"The specified clientToken is invalid. It has {len(token)} characters; at most 64 "
            "ASCII characters are allowed.",
            400,
        )
    caller = request.caller
    return "/".join((caller.kind, caller.name, action.product, request.region, action.name, token))


def recall(cloud: Cloud, key: str, request: Request) -> Answer | None:
    """The earlier answer to the same request; None when this is the first.

    Raises ApiError IdempotentParameterMismatch when the token was used with other parameters.
    """
    row = cloud.account(request.caller.account).table(_TABLE).get(key)
    if row is None:
        return None
    if row["Digest"] != _digest(cloud, request):
        raise ApiError(
            "IdempotentParameterMismatch",
            "The request uses the same client token as a previous, but non-identical request. Do "
            "not reuse a client token with different requests, unless the requests are identical.",
            400,
        )
    answer: Answer = json.loads(cloud.vault.open(row["Answer"]))
    return answer


def remember(cloud: Cloud, key: str, request: Request, answer: Answer) -> None:
    """Keep the answer of a request that was carried out."""
    table = cloud.account(request.caller.account).table(_TABLE)
    now = cloud.clock()
    for old in [k for k, row in table.items() if row["At"] + _KEPT_S < now]:
        del table[old]
    table[key] = {
        "At": now,
        "Digest": _digest(cloud, request),
        "Answer": cloud.vault.seal(json.dumps(answer)),
    }


def _digest(cloud: Cloud, request: Request) -> str:
    return cloud.vault.digest(json.dumps(sorted(request.params.items())))
