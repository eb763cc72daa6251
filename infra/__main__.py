"""Entry point of the Pulumi program: load the config, pick the deployment, export its outputs."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import pulumi

from infra import container_service, explain, preflight
from infra.config import ConfigError, Settings, load
from infra.placement import PlacementError
from infra.preflight import PreflightError


def _deploy(settings: Settings, before_creation: Callable[[], None]) -> Mapping[str, Any]:
    # Imported here: each target pays for its own providers' modules only.
    if settings.target == "acs":
        from infra.deployments import acs  # noqa: PLC0415

        return acs.deploy(settings, before_creation=before_creation)
    from infra.deployments import ecs  # noqa: PLC0415

    return ecs.deploy(settings, before_creation=before_creation)


def main() -> None:
    """Build the deployment that the stack's config asks for."""
    settings = load(pulumi.Config(), stack=pulumi.get_stack(), project=pulumi.get_project())
    explain.beside_errors()
    with preflight.beside(settings.region, also=container_service.checker(settings)) as checked:
        outputs = _deploy(settings, checked)
    for name, value in outputs.items():
        pulumi.export(name, value)


try:
    main()
except (ConfigError, PlacementError, PreflightError) as error:
    # One message without a traceback: the mistake is in the config or the region, not in the code.
    pulumi.log.error(str(error))
    sys.exit(1)
