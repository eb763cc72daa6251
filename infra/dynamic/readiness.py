"""Readiness: `pulumi up` ends when the node serves, or says what failed on it.

The node applies its settings itself (first boot, every boot, a timer). This resource asks it,
through Cloud Assistant, to apply them now and waits for the result. No port is needed for that,
so it works although only the users' networks may reach the service.
"""

from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

from infra import assistant, openapi

AGENT_SECONDS = 300
"""How long the node's agent may take to appear: cloud-init writes it within the first minute."""


class NodeNotReadyError(Exception):
    """The node does not serve; the message holds the last lines of its log."""


def script(timeout_seconds: int) -> str:
    """Return the shell script that applies the settings and waits for the service."""
    return f"""#!/bin/sh
end=$(( $(date +%s) + {AGENT_SECONDS} ))
while [ ! -x /usr/local/bin/vace-node ]; do
  if [ "$(date +%s)" -ge "$end" ]; then
    echo "The user data was not run within {AGENT_SECONDS} s: /usr/local/bin/vace-node is missing."
    echo "The image's cloud-init must be 23.2.2 or newer to read metadata with tokens; it is:"
    cloud-init --version 2>&1 || echo "not installed"
    echo "Its output ends:"
    tail -n 30 /var/log/cloud-init-output.log 2>/dev/null | cut -c1-300
    exit 1
  fi
  sleep 1
done
systemctl start --no-block vace-node.service
exec /usr/local/bin/vace-node wait --timeout {timeout_seconds}
"""


class _ReadinessProvider(ResourceProvider):
    serialize_as_secret_always = False

    def _wait(self, props: dict[str, Any]) -> None:
        timeout = int(props["timeout_seconds"])
        result = assistant.run(
            openapi.client("ecs", props["region"]),
            props["instance_id"],
            script(timeout),
            timeout_seconds=timeout + AGENT_SECONDS,
        )
        if result.exit_code != 0:
            raise NodeNotReadyError(
                f"the node {props['instance_id']} does not serve. It was created and costs money; "
                "mend the cause and run `pulumi up` again, or `pulumi destroy`. The node says:\n"
                f"{result.output.strip()}"
            )

    def create(self, props: dict[str, Any]) -> CreateResult:
        self._wait(props)
        return CreateResult(id_=props["instance_id"], outs=props)

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        replaced = _olds["instance_id"] != _news["instance_id"]
        changed = replaced or _olds["triggers"] != _news["triggers"]
        return DiffResult(changes=changed, replaces=["instance_id"] if replaced else [])

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        self._wait(_news)
        return UpdateResult(outs=_news)


class NodeReadiness(Resource, module="wanvace", name="NodeReadiness"):
    """Exists when the node has applied its settings and the service answers.

    ``triggers`` are the versions of everything the node reads; when one changes, the node is
    asked to apply it at once and waited for again.
    """

    def __init__(
        self,
        name: str,
        *,
        region: str,
        instance_id: pulumi.Input[str],
        triggers: pulumi.Input[list[str]],
        timeout_seconds: int,
        opts: pulumi.ResourceOptions,
    ) -> None:
        super().__init__(
            _ReadinessProvider(),
            name,
            {
                "region": region,
                "instance_id": instance_id,
                "triggers": triggers,
                "timeout_seconds": timeout_seconds,
            },
            opts,
        )
