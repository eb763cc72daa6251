"""Which version of each tool belongs to this repository, and what building it costs.

The versions repeat what `go.mod`, `resources.json` and `requirements.lock` say, because this file
is read before any of those tools exist; a test keeps them equal.
"""

from __future__ import annotations

from pathlib import Path

TOOLCHAIN = Path(__file__).resolve().parent
REPOSITORY = TOOLCHAIN.parents[1]

PULUMI_VERSION = "3.256.0"
ALICLOUD_VERSION = "3.105.0"

PULUMI_MODULE = TOOLCHAIN / "go" / "pulumi"
ALICLOUD_MODULE = TOOLCHAIN / "go" / "alicloud"
FAST_WAITS = TOOLCHAIN / "go" / "fast-waits"
LANGUAGE_HOST = TOOLCHAIN / "host" / "language_host.py"

PULUMI_RELEASES = "https://get.pulumi.com/releases/sdk"
"""Where Pulumi publishes its command-line program, beside a file of SHA-256 sums."""
PLUGIN_RELEASES = "https://get.pulumi.com/releases/plugins"
"""Where the program itself looks for plugins; asked here only whether it can be reached."""

# Measured on 2 cores with an empty Go build cache and downloaded modules.
TYPICAL_SECONDS = {
    "pulumi": 200.0,
    "alicloud": 300.0,
    "alicloud-fast": 300.0,
    "packages": 90.0,
    "venv": 120.0,
}
