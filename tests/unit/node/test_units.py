"""Quadlets and what is said about units."""

import dataclasses
import json
import re
import subprocess
import sys

import pytest

from infra.node.vace_node import units
from infra.node.vace_node.errors import NodeError
from infra.node.vace_node.settings import Settings


def keys(text: str, section: str) -> dict[str, list[str]]:
    """Key -> values of one section of a unit file."""
    found: dict[str, list[str]] = {}
    here = ""
    for line in text.splitlines():
        if line.startswith("["):
            here = line
        elif here == f"[{section}]" and "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("maker", [units.comfyui_quadlet, units.gateway_quadlet])
def test_containers_run_without_any_privilege(maker: object, settings: Settings) -> None:
    """Custom nodes are other people's code; each of these lines keeps them in."""
    assert callable(maker)
    container = keys(maker(settings), "Container")
    assert container["ReadOnly"] == ["true"]
    assert container["DropCapability"] == ["all"]
    assert container["NoNewPrivileges"] == ["true"]
    assert container["User"] == container["Group"] != ["0"]
    assert container["Network"] == ["host"]
    assert container["Pull"] == ["never"]


# Keys of [Container] in podman-systemd.unit(5) of podman 4.7, the oldest that we take.
OLD_KEYS = set(
    re.findall(
        r"\w+",
        """AddCapability AddDevice Annotation AutoUpdate ContainerName DNS DNSOption DNSSearch
        DropCapability Environment EnvironmentFile EnvironmentHost Exec ExposeHostPort GIDMap
        Group HealthCmd HealthInterval HealthOnFailure HealthRetries HealthStartPeriod
        HealthStartupCmd HealthStartupInterval HealthStartupRetries HealthStartupSuccess
        HealthStartupTimeout HealthTimeout HostName IP IP6 Image Label LogDriver Mask Mount
        Network NoNewPrivileges Notify PidsLimit PodmanArgs PublishPort Pull ReadOnly Rootfs
        RunInit SeccompProfile Secret SecurityLabelDisable SecurityLabelFileType
        SecurityLabelLevel SecurityLabelNested SecurityLabelType ShmSize SubGIDMap SubUIDMap
        Sysctl Timezone Tmpfs UIDMap Ulimit Unmask User UserNS VolatileTmp Volume WorkingDir""",
    )
)


@pytest.mark.parametrize("maker", [units.comfyui_quadlet, units.gateway_quadlet])
def test_quadlets_use_only_keys_that_the_oldest_podman_knows(
    maker: object, settings: Settings
) -> None:
    """Ubuntu 24.04 has podman 4.9, a rehearsal 5.4; one unknown key and there is no service."""
    assert callable(maker)
    assert set(keys(maker(settings), "Container")) <= OLD_KEYS


@pytest.mark.parametrize("maker", [units.comfyui_quadlet, units.gateway_quadlet])
def test_a_container_that_hangs_is_killed_and_started_anew(
    maker: object, settings: Settings
) -> None:
    """A process that hangs has not ended: systemd alone would leave it so for ever."""
    assert callable(maker)
    text = maker(settings)
    container = keys(text, "Container")
    assert container["HealthOnFailure"] == ["kill"]
    assert keys(text, "Service")["Restart"] == ["always"]
    # More than one word in JSON: podman runs it without a shell, which an image may lack.
    assert len(json.loads(container["HealthCmd"][0])) > 1
    assert not {"$", "%"} & set(container["HealthCmd"][0]), "systemd would replace these"


def test_the_commands_that_the_node_runs_are_the_images_own(settings: Settings) -> None:
    """A command that the image lacks would have podman kill a healthy ComfyUI for ever."""
    (health,) = keys(units.comfyui_quadlet(settings), "Container")["HealthCmd"]
    program, command = json.loads(health)
    assert program == "vace-comfyui"
    done = subprocess.run(
        [sys.executable, "-m", "vace_comfyui", "--help"], capture_output=True, text=True, check=True
    )
    for word in (command, "ready"):
        assert word in done.stdout


def test_a_stop_waits_for_the_videos_that_are_being_made(settings: Settings) -> None:
    """Each party's patience must end after that of the one which it waits for."""
    text = units.comfyui_quadlet(settings)
    container = keys(text, "Container")
    drain = next(v for v in container["Environment"] if v.startswith("VACE_DRAIN_SECONDS="))
    (podman,) = container["PodmanArgs"]
    (stop,) = keys(text, "Service")["TimeoutStopSec"]
    patience = [int(drain.partition("=")[2]), int(podman.partition("=")[2]), int(stop)]
    assert patience == sorted(set(patience))


def test_comfyui_listens_on_loopback_and_writes_to_the_data_disk(settings: Settings) -> None:
    """Without the assertion, results would silently land on the system disk."""
    text = units.comfyui_quadlet(settings)
    container = keys(text, "Container")
    assert "COMFYUI_LISTEN=127.0.0.1" in container["Environment"]
    assert "COMFYUI_BASE=/data/comfyui" in container["Environment"]
    assert container["Volume"] == ["/data/comfyui:/data/comfyui"]
    assert container["AddDevice"] == ["nvidia.com/gpu=all"]
    assert "AddCapability" not in container
    assert keys(text, "Unit")["AssertPathIsMountPoint"] == ["/data"]


def test_machine_without_gpu_asks_for_no_device(settings: Settings) -> None:
    """podman refuses to start a container whose CDI device does not exist."""
    text = units.comfyui_quadlet(dataclasses.replace(settings, gpu_driver="none"))
    assert "AddDevice" not in text


def test_gateway_gets_its_environment(settings: Settings) -> None:
    """The names are an agreement with the gateway's image."""
    container = keys(units.gateway_quadlet(settings), "Container")
    environment = dict(item.split("=", 1) for item in container["Environment"])
    assert environment["VACE_GATEWAY_TLS_LISTEN"] == "0.0.0.0:443"
    assert environment["VACE_GATEWAY_TOKEN_FILE"] == "/run/vace/token"
    assert environment["VACE_GATEWAY_MAX_UPLOAD_MIB"] == "512"
    assert environment["VACE_GATEWAY_ALLOWED_HOSTS"] == "203.0.113.10,localhost,127.0.0.1"
    assert environment["VACE_GATEWAY_PLAIN_LISTEN"] == ""
    assert container["AddCapability"] == ["NET_BIND_SERVICE"]
    assert container["Volume"] == ["/run/vace:/run/vace:ro"]


def test_rotation_reaches_the_gateway_as_a_signal(settings: Settings) -> None:
    """A restart would cut the uploads and downloads of everybody."""
    service = keys(units.gateway_quadlet(settings), "Service")
    assert service["ExecReload"] == ["/usr/bin/podman kill --signal HUP vace-gateway"]


def test_plain_listener_is_on_the_private_address_only(settings: Settings) -> None:
    """0.0.0.0:8188 would collide with ComfyUI's own listener at 127.0.0.1:8188."""
    plain = dataclasses.replace(settings, plain_http=True)
    text = units.gateway_quadlet(plain, private_ip="192.168.0.7")
    assert "VACE_GATEWAY_PLAIN_LISTEN=192.168.0.7:8188" in text
    assert "ALLOWED_HOSTS=203.0.113.10,localhost,127.0.0.1,192.168.0.7" in text
    with pytest.raises(NodeError, match="private address"):
        units.gateway_quadlet(plain)


@pytest.mark.parametrize("result", ["start-limit-hit", "exit-code"])
def test_start_limit_is_said_in_words(result: str) -> None:
    """systemd's own word for it is easily overlooked, and newer versions keep the first result."""
    state = {"ActiveState": "failed", "SubState": "failed", "Result": result, "NRestarts": "5"}
    text = units.explain("vace-gateway.service", state)
    assert "given up" in text
    assert result in text
    assert "restarted 5 times" in text


def test_the_speed_profile_is_passed_on_to_the_image(settings: Settings) -> None:
    """Prevents a profile that is chosen, paid for and has no effect."""
    chosen = dataclasses.replace(settings, speed_profile="balanced")
    assert "Environment=VACE_PROFILE=balanced\n" in units.comfyui_quadlet(chosen)
