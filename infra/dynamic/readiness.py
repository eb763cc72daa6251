"""Readiness: `pulumi up` ends when the node serves, or says what failed on it.

The node applies its settings itself (first boot, every boot, a timer). This resource asks it,
through Cloud Assistant, to apply them now and waits for the result. No port is needed for that,
so it works although only the users' networks may reach the service.
"""

import time
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider

from infra import assistant, openapi
from infra.node.render import BOOTSTRAP_UNIT

AGENT_SECONDS = 300
"""How long the node's agent may take to appear: cloud-init writes it within the first minute."""
RESTARTING = 75
"""Exit status of ``vace-node wait`` when the machine restarts itself, for a kernel module."""
RESTART_SECONDS = 60.0
"""After these, the machine is down or up again, and no command is lost in its shutdown."""


class NodeNotReadyError(Exception):
    """The node does not serve; the message holds the last lines of its log."""


def script(timeout_seconds: int) -> str:
    """Return the shell script that applies the settings and waits for the service.

    It also starts the agent's bootstrap, which user data may have been kept from doing.
    """
    return f"""#!/bin/sh
agent=/usr/local/bin/vace-node
unit={BOOTSTRAP_UNIT}
started=
end=$(( $(date +%s) + {AGENT_SECONDS} ))
while [ ! -x "$agent" ]; do
  if [ -z "$started" ] && [ -f "/etc/systemd/system/$unit" ]; then
    systemctl daemon-reload
    systemctl enable --now --no-block "$unit" 2>&1
    started=yes
  fi
  if [ "$(date +%s)" -ge "$end" ]; then
    if [ -n "$started" ]; then
      echo "The user data was run, but the agent could not be installed within {AGENT_SECONDS} s."
      echo "$unit is $(systemctl is-active "$unit"); the end of its log:"
      journalctl --no-pager -o cat -n 20 -u "$unit" | cut -c1-600
    else
      echo "The user data was not run within {AGENT_SECONDS} s: $unit and $agent are missing."
      echo "The image's cloud-init must be 23.2.2 or newer to read metadata with tokens; it is:"
      cloud-init --version 2>&1 || echo "not installed"
    fi
    echo "The output of cloud-init ends:"
    tail -n 30 /var/log/cloud-init-output.log 2>/dev/null | cut -c1-300
    exit 1
  fi
  sleep 1
done
systemctl start --no-block vace-node.timer vace-results.timer vace-node.service
exec "$agent" wait --timeout {timeout_seconds}
"""


class _ReadinessProvider(ResourceProvider):
    serialize_as_secret_always = False

    def _ask(self, props: dict[str, Any]) -> assistant.Result:
        timeout = int(props["timeout_seconds"])
        return assistant.run(
            openapi.client("ecs", props["region"]),
            props["instance_id"],
            script(timeout),
            timeout_seconds=timeout + AGENT_SECONDS,
        )

    def _wait(self, props: dict[str, Any]) -> None:
        result = self._ask(props)
        if result.exit_code == RESTARTING:
            # It does so once in its life.
            time.sleep(RESTART_SECONDS)
            result = self._ask(props)
        if result.exit_code != 0:
            raise NodeNotReadyError(
                f"the node {props['instance_id']} does not serve with these settings. It exists "
                "and costs money; mend the cause and run `pulumi up` again, or `pulumi destroy`. "
                f"The node says:\n{result.output.strip()}"
            )

    def create(self, props: dict[str, Any]) -> CreateResult:
        self._wait(props)
        return CreateResult(id_=props["instance_id"], outs=props)

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        # Replaced and never updated: after an update that failed, the state would still say that
        # the old settings are in force, and going back to them would ask nobody.
        changed = [key for key in ("instance_id", "triggers") if _olds[key] != _news[key]]
        return DiffResult(changes=bool(changed), replaces=changed, delete_before_replace=True)


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
