"""Where secrets are on the node, where they are not, and what ComfyUI's user can reach."""

import json

import pytest

from tests.rehearsal.stack import Stack

pytestmark = [pytest.mark.engine, pytest.mark.machine, pytest.mark.timeout(120)]

# The node itself knows the secrets: a search text sent by Cloud Assistant would plant them there.
SEARCH = r"""
patterns() { cat /run/vace/token; echo; sed -n 2p /run/vace/tls.key; }
found() { grep -qaF -f /dev/fd/3 3<<EOF && echo "$1"
$(patterns)
EOF
}
echo "lines: $(patterns | grep -c .)"
find / -xdev -type f -size -64M ! -path '/proc/*' ! -path '/sys/*' -print0 2>/dev/null |
    { patterns > /dev/shm/p; xargs -0 grep -laF -f /dev/shm/p -- 2>/dev/null; rm /dev/shm/p; }
for mount in /run /etc /tmp /dev/shm /data /var/lib/containers /var/log/journal; do
    patterns | grep -rlasF -f - -- "$mount"
done
journalctl --no-pager --output=export --all | found journal
IMDS=http://100.100.100.200/latest
token=$(curl -sf -X PUT -H 'X-aliyun-ecs-metadata-token-ttl-seconds: 60' "$IMDS/api/token")
curl -sf -H "X-aliyun-ecs-metadata-token: $token" "$IMDS/user-data" > /dev/shm/user-data
grep -c cloud-config /dev/shm/user-data
found 'user data' < /dev/shm/user-data
cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\0' '\n' | found processes
podman inspect vace-gateway vace-comfyui | found 'podman inspect'
podman logs vace-gateway 2>&1 | found 'podman logs'
systemctl show '*' 2>/dev/null | found systemd
rm /dev/shm/user-data
true
"""

REACH = """
import json, socket
def reach(kind, address, port):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.settimeout(3)
        try:
            probe.connect((address, port))
            probe.send(b"x")
            return "open" if kind == socket.SOCK_STREAM or probe.recv(1) else "sent"
        except OSError as error:
            return type(error).__name__
tcp, udp = socket.SOCK_STREAM, socket.SOCK_DGRAM
print(json.dumps({
    "metadata": reach(tcp, "100.100.100.200", 80),
    "openapi": reach(tcp, "100.100.100.200", 443),
    "registry": reach(tcp, "100.100.100.210", 443),
    "names": reach(tcp, "100.100.2.136", 53),
    "names by udp": reach(udp, "100.100.2.136", 53),
    "comfyui": reach(tcp, "127.0.0.1", 8188),
}))
"""


def test_secrets_are_in_memory_and_nowhere_else(node: Stack) -> None:
    """Searches the node for token and TLS key; a copy would outlive rotation and reach backups."""
    lines = node.on_node(SEARCH).splitlines()
    assert lines[0] == "lines: 2", "the search had nothing to look for"
    # Finding the originals shows that the search finds; the user data was there to be searched.
    assert sorted(lines[1:]) == ["/run/vace/tls.key", "/run/vace/token", "1"]


def test_secret_files_are_readable_by_the_gateway_only(node: Stack) -> None:
    """Prevents a world-readable key, and one on a disk that outlives the machine."""
    assert node.on_node("stat -f -c %T /run/vace").strip() == "tmpfs"
    modes = node.on_node("cd /run/vace && stat -c '%n %a %u' *").splitlines()
    assert modes == ["tls.crt 400 10002", "tls.key 400 10002", "token 400 10002"]
    refused = node.on_node("setpriv --reuid 10001 --clear-groups cat /run/vace/token 2>&1 || true")
    assert "Permission denied" in refused


def test_comfyui_reaches_neither_the_metadata_service_nor_the_network(node: Stack) -> None:
    """A custom node that calls home, or takes the role's keys, must get nowhere."""
    script = f"cat > /dev/shm/reach.py <<'END'\n{REACH}END\n"
    script += "python3 /dev/shm/reach.py\n"
    script += "podman exec -i vace-comfyui python3 - < /dev/shm/reach.py\n"
    script += "podman exec -i vace-gateway python3 - < /dev/shm/reach.py\n"
    script += "rm /dev/shm/reach.py\n"
    root, comfyui, gateway = map(json.loads, node.on_node(script).splitlines())
    # For root everything is there, so a refusal below is the firewall's.
    for name in ("metadata", "openapi", "registry", "names", "comfyui"):
        assert root[name] == "open", root
    outside = ("metadata", "openapi", "registry", "names", "names by udp")
    for user in (comfyui, gateway):
        assert all(user[name] not in ("open", "sent") for name in outside), user
    # The gateway's only way out.
    assert gateway["comfyui"] == "open"
