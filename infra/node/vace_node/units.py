"""The two containers as quadlets: units that podman's systemd generator turns into services."""

from __future__ import annotations

import json
from pathlib import Path

from .credentials import CERTIFICATE, FOLDER, GATEWAY_UID, KEY, TOKEN
from .disk import COMFYUI, COMFYUI_UID, MOUNT_POINT
from .errors import CommandError, NodeError
from .settings import Settings
from .system import fingerprint, log, run, write_file

COMFYUI_UNIT = "vace-comfyui.service"
GATEWAY_UNIT = "vace-gateway.service"
QUADLETS = Path("/etc/containers/systemd")
# What the running containers were started with; gone with the containers at a reboot.
APPLIED = Path("/run/vace-applied.json")
UPSTREAM_PORT = 8188
# Time for the videos that are being made when ComfyUI is asked to stop: several of the reference
# workflow on the slowest card.
DRAIN_S = 300
STOP_S = DRAIN_S + 60
"""Longest orderly stop of ComfyUI; podman kills it half a minute earlier."""
# What another start finds again: settings (64) and encoder (68). Weights, GPU and scratch space may
# get better: a disk gets room when results were uploaded, a driver may be on its way.
_PERMANENT = "64 68"
METRICS = "127.0.0.1:9464"
REQUIRED_NODES = "WanVaceToVideo,VHS_VideoCombine,ImageResizeKJv2,INTConstant"

# No [Install] section: vace-node starts the containers when disk, driver and secrets are there.
_UNIT = """\
# Written by vace-node from the settings Parameter; changes here are overwritten.
[Unit]
Description={description}
Requires=vace-firewall.service
After=vace-firewall.service network-online.target{after}
StartLimitIntervalSec=600
StartLimitBurst=5
{unit}
[Container]
ContainerName={name}
Image={image}
# By digest, and already here: a start never waits for a registry.
Pull=never
Network=host
User={uid}
Group={uid}
ReadOnly=true
DropCapability=all
NoNewPrivileges=true
LogDriver=journald
{container}
[Service]
Restart=always
RestartSec=5
{service}
"""


def _health(command: list[str], *, start: str, timeout: str, retries: int) -> str:
    """Lines that have podman kill a container which hangs; systemd then starts it anew.

    `start` is the time in which failures do not count. Checked every 30 s. The image's own health
    check would not do: the OCI format has no place for one.
    """
    values = {
        "Cmd": json.dumps(command),
        "Interval": "30s",
        "StartPeriod": start,
        "Timeout": timeout,
        "Retries": str(retries),
        "OnFailure": "kill",
    }
    return "".join(f"Health{key}={value}\n" for key, value in values.items())


def _lines(key: str, values: list[str]) -> str:
    return "".join(f"{key}={value}\n" for value in values)


def comfyui_quadlet(settings: Settings) -> str:
    """Text of vace-comfyui.container."""
    container = _lines(
        "Environment",
        [
            "COMFYUI_LISTEN=127.0.0.1",
            f"COMFYUI_PORT={UPSTREAM_PORT}",
            f"COMFYUI_BASE={COMFYUI}",
            # One more than the gateway lets through: a file comes in a multipart envelope.
            f"COMFYUI_MAX_UPLOAD_MIB={settings.max_upload_mib + 1}",
            f"VACE_DRAIN_SECONDS={DRAIN_S}",
            f"VACE_PROFILE={settings.speed_profile}",
        ],
    )
    container += f"Volume={COMFYUI}:{COMFYUI}\n"
    # Compiled kernels are loaded from /tmp, so it stays executable.
    container += "Tmpfs=/tmp:rw,nosuid,nodev,size=4g,mode=1777\n"
    # PyTorch passes tensors between processes through /dev/shm; the default is 64 MB.
    container += "ShmSize=2g\n"
    # It answers while it renders; only after about five minutes of silence is it taken for hung.
    # The first start hashes the weights before anything answers.
    container += _health(["vace-comfyui", "health"], start="10m", timeout="30s", retries=5)
    # podman's own patience is 10 s.
    container += f"PodmanArgs=--stop-timeout={DRAIN_S + 30}\n"
    if settings.gpu:
        container += "AddDevice=nvidia.com/gpu=all\n"
    return _UNIT.format(
        description="ComfyUI with Wan2.1-VACE",
        after="",
        # Without the data disk, results would go to the system disk and be lost with it.
        unit=f"RequiresMountsFor={COMFYUI}\nAssertPathIsMountPoint={MOUNT_POINT}\n",
        name=COMFYUI_UNIT.removesuffix(".service"),
        image=settings.comfyui_image,
        uid=COMFYUI_UID,
        container=container,
        service=(
            f"TimeoutStartSec=120\nTimeoutStopSec={STOP_S}\nRestartPreventExitStatus={_PERMANENT}"
        ),
    )


def gateway_quadlet(settings: Settings, *, private_ip: str = "") -> str:
    """Text of vace-gateway.container.

    With `plain_http`, an unencrypted listener opens on `private_ip` (needed then), where the
    security group lets callers of the VPC in; 0.0.0.0 would collide with ComfyUI's own port.
    """
    hosts = dict.fromkeys([*settings.allowed_hosts, "localhost", "127.0.0.1"])
    plain = ""
    if settings.plain_http:
        if not private_ip:
            raise NodeError("plain HTTP is wanted, and the private address of the node is unknown")
        plain = f"{private_ip}:{UPSTREAM_PORT}"
        hosts[private_ip] = None
    environment = {
        "TLS_LISTEN": "0.0.0.0:443",
        "TLS_CERT": str(FOLDER / CERTIFICATE),
        "TLS_KEY": str(FOLDER / KEY),
        "TOKEN_FILE": str(FOLDER / TOKEN),
        "UPSTREAM": f"http://127.0.0.1:{UPSTREAM_PORT}",
        "PLAIN_LISTEN": plain,
        "METRICS_LISTEN": METRICS,
        "MAX_UPLOAD_MIB": str(settings.max_upload_mib),
        "ALLOWED_HOSTS": ",".join(hosts),
        "REQUIRED_NODES": REQUIRED_NODES,
    }
    name = GATEWAY_UNIT.removesuffix(".service")
    container = "AddCapability=NET_BIND_SERVICE\n"
    container += _lines("Environment", [f"VACE_GATEWAY_{k}={v}" for k, v in environment.items()])
    # The folder, not the files: a file that is replaced would stay the old one in the container.
    container += f"Volume={FOLDER}:{FOLDER}:ro\n"
    container += "Tmpfs=/tmp:rw,nosuid,nodev,noexec,size=64m,mode=1777\n"
    container += "PodmanArgs=--stop-timeout=30\n"
    probe = ["/usr/bin/python3", "-s", "-m", "vace_gateway.probe"]
    container += _health(probe, start="30s", timeout="10s", retries=3)
    return _UNIT.format(
        description="HTTPS gateway in front of ComfyUI",
        after=" vace-credentials.service",
        # Wants, not Requires: with the files of an earlier fetch it may start without the cloud.
        unit="Wants=vace-credentials.service\n",
        name=name,
        image=settings.gateway_image,
        uid=GATEWAY_UID,
        container=container,
        service=(
            "TimeoutStartSec=120\nTimeoutStopSec=45\n"
            f"ExecReload=/usr/bin/podman kill --signal HUP {name}"
        ),
    )


def show(unit: str) -> dict[str, str]:
    """What systemd knows of a unit (ActiveState, SubState, Result, NRestarts, LoadState, Job)."""
    wanted = "LoadState,ActiveState,SubState,Result,NRestarts,Job"
    listing = run(["systemctl", "show", f"--property={wanted}", unit], check=False).stdout
    return dict(line.split("=", 1) for line in listing.splitlines() if "=" in line)


def explain(unit: str, state: dict[str, str]) -> str:
    """One line about a unit. With Restart=always, `failed` means that systemd has given up."""
    text = f"{unit} is {state.get('ActiveState', 'unknown')} ({state.get('SubState', '?')})"
    restarts = state.get("NRestarts", "0")
    if restarts not in ("", "0"):
        text += f", restarted {restarts} times"
    result = state.get("Result", "success")
    if result not in ("", "success"):
        text += f", last result: {result}"
    # The result names the start limit only when nothing else failed before it was reached.
    if result == "start-limit-hit" or (state.get("ActiveState") == "failed" and restarts != "0"):
        text += "; systemd has given up on it after repeated failures (start limit)"
    return text


def apply(texts: dict[str, str], context: dict[str, str], *, reload_key: str) -> str:
    """Write the quadlets and (re)start what is not running as wanted; returns what was done.

    `texts` maps a service to its quadlet; `context` maps it to a fingerprint of what else it
    was started with (devices, disk). `reload_key` is a fingerprint of the gateway's files: when
    only that changed, the gateway is told to read them again and keeps its connections.
    Raises NodeError when systemd does not know or cannot start a unit.
    """
    changed = False
    for unit, text in texts.items():
        quadlet = QUADLETS / unit.replace(".service", ".container")
        changed |= write_file(quadlet, text)
    if changed or any(show(unit).get("LoadState") != "loaded" for unit in texts):
        run(["systemctl", "daemon-reload"])
    applied = _applied()
    done = []
    for unit, text in texts.items():
        state = show(unit)
        if state.get("LoadState") != "loaded":
            raise NodeError(f"podman made no service of {unit}: {_quadlet_errors()}")
        wanted = {"start": fingerprint(text, context.get(unit, ""))}
        if unit == GATEWAY_UNIT:
            wanted["reload"] = reload_key
        have = applied.get(unit, {})
        active = state.get("ActiveState") == "active"
        if active and have == wanted:
            continue
        if active and have.get("start") == wanted["start"]:
            run(["systemctl", "reload", unit])
            done.append(f"{unit} reloaded")
        else:
            run(["systemctl", "reset-failed", unit], check=False)
            _restart(unit)
            done.append(f"{unit} {'restarted' if active else 'started'}")
        # Noted after the deed: a run that is killed in between repeats it.
        applied[unit] = wanted
        write_file(APPLIED, json.dumps(applied), mode=0o600)
    return ", ".join(done) or "all as wanted"


def must_restart(texts: dict[str, str], context: dict[str, str]) -> bool:
    """Whether `apply` is going to (re)start a service."""
    applied = _applied()
    return any(
        applied.get(unit, {}).get("start") != fingerprint(text, context.get(unit, ""))
        or show(unit).get("ActiveState") != "active"
        for unit, text in texts.items()
    )


def _applied() -> dict[str, dict[str, str]]:
    try:
        found = json.loads(APPLIED.read_text())
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError):
        return {}


def _restart(unit: str) -> None:
    try:
        run(["systemctl", "restart", unit], timeout=STOP_S + 180)
    except CommandError as error:
        raise NodeError(
            f"{explain(unit, show(unit))}. Its log: journalctl -u {unit} ({error})"
        ) from error


def _quadlet_errors() -> str:
    for program in ("/usr/libexec/podman/quadlet", "/usr/lib/podman/quadlet"):
        if Path(program).exists():
            text = run([program, "-dryrun"], check=False).stdout
            log(text[-2000:])
            errors = [line for line in text.splitlines() if "rror" in line or "unsupported" in line]
            return " ".join(errors)[-600:] or "no error is reported by quadlet -dryrun"
    return "this podman has no quadlet generator"
