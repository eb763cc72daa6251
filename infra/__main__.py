"""Entry point of the Pulumi program: load the config, pick the deployment, export its outputs."""

import sys

import pulumi

from infra import explain, preflight
from infra.config import ConfigError, load
from infra.deployments import ecs
from infra.placement import PlacementError
from infra.preflight import PreflightError


def main() -> None:
    """Build the deployment that the stack's config asks for."""
    settings = load(pulumi.Config(), stack=pulumi.get_stack(), project=pulumi.get_project())
    explain.beside_errors()
    with preflight.beside(settings.region) as checked:
        outputs = ecs.deploy(settings, before_creation=checked)
    for name, value in outputs.items():
        pulumi.export(name, value)


try:
    main()
except (ConfigError, PlacementError, PreflightError) as error:
    # One message without a traceback: the mistake is in the config or the region, not in the code.
    pulumi.log.error(str(error))
    sys.exit(1)
