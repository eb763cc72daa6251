"""The steps from a bare image to a service that answers. Each can be repeated at any time."""

from __future__ import annotations

import time
from pathlib import Path

from . import credentials, disk, gpu, images, packages, readiness, results, units
from .cloud import Credentials, Metadata, ParameterStore, wait_for_role
from .errors import CommandError, NodeError
from .settings import NodeFile, Settings, parse_node_file, parse_settings
from .status import Run
from .system import exclusive, log, run, write_file

NODE_FILE = Path("/etc/vace/node.json")
SETTINGS_COPY = Path("/var/lib/vace/settings.json")
LOCKS = Path("/run/lock")
STEPS = (
    "role",
    "settings",
    "packages",
    "gpu",
    "disk",
    "firewall",
    "credentials",
    "images",
    "services",
    "ready",
)
_LOCK_WAIT = 3 * 3600  # a first run pulls gigabytes


class RoleKeys:
    """The role's keys, fetched again before they expire."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        self._keys: Credentials | None = None

    def __call__(self) -> Credentials:
        if self._keys is None or self._keys.expires < time.time() + 300:
            self._keys = wait_for_role(self._metadata, patience=30)
        return self._keys


def read_node_file() -> NodeFile:
    """node.json, which user data wrote. Raises NodeError."""
    try:
        return parse_node_file(NODE_FILE.read_text(), str(NODE_FILE))
    except FileNotFoundError as error:
        raise NodeError(
            f"{NODE_FILE} is missing; cloud-init writes it from user data. See "
            "/var/log/cloud-init.log",
            permanent=True,
        ) from error


def converge() -> None:
    """Bring the node to the desired state. Raises the error of the step that failed."""
    with exclusive(LOCKS / "vace-converge.lock", wait=_LOCK_WAIT):
        status = Run(STEPS, log=log)
        _Converge(status).run()


class _Converge:
    def __init__(self, status: Run) -> None:
        self._status = status
        self._metadata = Metadata()
        self._keys = RoleKeys(self._metadata)
        self._packages = packages.Packages()
        self._context: dict[str, str] = {}
        self._node: NodeFile
        self._store: ParameterStore
        self._settings: Settings
        self._secrets: credentials.Credentials

    def run(self) -> None:
        actions = (
            self._await_role,
            self._read_settings,
            self._install_packages,
            self._prepare_gpu,
            self._mount_disk,
            self._apply_firewall,
            self._fetch_credentials,
            self._pull_images,
            self._run_services,
            self._await_service,
        )
        for name, action in zip(STEPS, actions, strict=True):
            self._status.execute(name, action)
        self._status.finish()
        try:
            removed = images.remove_old(self._image_names())
            if removed:
                log(f"{removed} old images removed")
        except (CommandError, ValueError) as error:
            log(f"old images could not be removed: {error}")

    def _image_names(self) -> list[str]:
        return [self._settings.comfyui_image, self._settings.gateway_image]

    def _await_role(self) -> str:
        self._node = read_node_file()
        self._store = ParameterStore(self._node.region, self._keys, progress=self._status.progress)
        return f"role {wait_for_role(self._metadata, progress=self._status.progress).role}"

    def _read_settings(self) -> str:
        name = self._node.settings_parameter
        text = self._store.parameter(name)
        self._settings = parse_settings(text, f"the parameter {name}")
        write_file(SETTINGS_COPY, text)
        return f"from parameter {name}"

    def _install_packages(self) -> str:
        return packages.ensure(self._packages, self._status.progress)

    def _prepare_gpu(self) -> str:
        if not self._settings.gpu:
            return "this machine has no GPU"
        found = gpu.ensure(self._settings.gpu_driver, self._packages, self._status.progress)
        self._context[units.COMFYUI_UNIT] = gpu.fingerprint_of_cdi()
        return found

    def _mount_disk(self) -> str:
        def stop() -> None:
            self._status.interrupted_service()
            run(["systemctl", "stop", units.COMFYUI_UNIT], timeout=units.STOP_S + 60)

        return disk.ensure(
            self._settings.data_disk_id, stop_users=stop, progress=self._status.progress
        )

    def _apply_firewall(self) -> str:
        # Reload replaces the table in one transaction; the containers, which require the unit,
        # would be restarted by a restart.
        run(["systemctl", "reload-or-restart", "vace-firewall.service"])
        rules = run(["nft", "list", "table", "inet", "vace"]).stdout.count(" reject")
        return f"{rules} rules in force"

    def _fetch_credentials(self) -> str:
        changed = fetch_credentials(self._store, self._node)
        secrets = credentials.installed()
        if secrets is None:
            raise NodeError(f"the files in {credentials.FOLDER} were removed while they were read")
        self._secrets = secrets
        return "changed" if changed else "unchanged"

    def _pull_images(self) -> str:
        if self._node.registry_secret:
            source = f"the secret parameter {self._node.registry_secret}"
            secret = self._store.secret(self._node.registry_secret)
            images.write_auth(images.auth_document(secret, source))
        pulled = [images.pull(name, self._status.progress) for name in self._image_names()]
        return f"{sum(pulled)} pulled, {len(pulled) - sum(pulled)} present"

    def _run_services(self) -> str:
        private_ip = ""
        if self._settings.plain_http:
            private_ip = (self._metadata.get("private-ipv4") or "").strip()
        texts = {
            units.COMFYUI_UNIT: units.comfyui_quadlet(self._settings),
            units.GATEWAY_UNIT: units.gateway_quadlet(self._settings, private_ip=private_ip),
        }
        if units.must_restart(texts, self._context):
            self._status.interrupted_service()
        return units.apply(texts, self._context, reload_key=self._secrets.fingerprint)

    def _await_service(self) -> str:
        return readiness.await_ready(self._status.progress)


def fetch_credentials(store: ParameterStore, node: NodeFile) -> bool:
    """Fetch token and TLS identity and install them; True when they changed."""
    with exclusive(LOCKS / "vace-credentials.lock", wait=300):
        return credentials.install(credentials.fetch(store, node))


def refresh_credentials() -> str:
    """What vace-credentials.service does: fetch and install, without telling the gateway."""
    node = read_node_file()
    keys = RoleKeys(Metadata())
    changed = fetch_credentials(ParameterStore(node.region, keys, progress=log), node)
    return f"credentials {'changed' if changed else 'unchanged'}"


def upload_results() -> str:
    """What vace-results.service does. Raises NodeError when something was not uploaded."""
    node = read_node_file()
    try:
        settings = parse_settings(SETTINGS_COPY.read_text(), str(SETTINGS_COPY))
    except FileNotFoundError:
        return "the node has no settings yet"
    if settings.results is None:
        return "results are not uploaded: the settings name no bucket"
    if disk.mounted_device(Path("/proc/self/mountinfo").read_text()) is None:
        return "the data disk is not mounted yet"
    with exclusive(LOCKS / "vace-results.lock", wait=3600):
        bucket = results.Bucket(settings.results, node.region, RoleKeys(Metadata()))
        return results.upload_new(bucket, settings.results.prefix)
