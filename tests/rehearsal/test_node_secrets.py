"""Where secrets are on the node, where they are not, and what ComfyUI's user can reach."""

import json

import pytest

from tests.rehearsal.stack import Stack

pytestmark = [pytest.mark.engine, pytest.mark.machine, pytest.mark.timeout(120)]

# The node itself knows the secrets: a search text sent by Cloud Assistant would plant them there.
# Each line of its answer: a place, how many bytes were searched, and how often a secret was found.
SEARCH = r"""
work=$(mktemp -d /dev/shm/search.XXXXXX)
trap 'rm -r "$work"' EXIT
{ cat /run/vace/token; echo; sed -n 2p /run/vace/tls.key; } > "$work/patterns"
place() {
    cat > "$work/text"
    echo "$1: $(wc -c < "$work/text") $(grep -caF -f "$work/patterns" "$work/text")"
}
place control < "$work/patterns"
IMDS=http://100.100.100.200/latest
session=$(curl -sf -X PUT -H 'X-aliyun-ecs-metadata-token-ttl-seconds: 60' "$IMDS/api/token")
curl -sf -H "X-aliyun-ecs-metadata-token: $session" "$IMDS/user-data" | place 'user data'
journalctl --no-pager --output=export --all | place journal
ps -eww -o args= | place 'command lines'
cat /proc/[0-9]*/environ 2>/dev/null | tr '\0' '\n' | place environments
podman inspect vace-gateway vace-comfyui | place 'podman inspect'
systemctl show '*' | place systemd
rm "$work/text"
cut -d ' ' -f 5 /proc/self/mountinfo | grep -vE '^/(proc|sys|dev)(/|$)' | sort -u |
    while read -r mount; do
        find "$mount" -xdev -type f -size -64M ! -path "$work/*" -print0 2>/dev/null |
            xargs -0r grep -laF -f "$work/patterns" -- 2>/dev/null
    done | sort -u | sed 's/^/file: /'
find /etc /var/lib/cloud -type f | wc -l | sed 's/^/files: /'
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
    answer = [line.partition(": ")[::2] for line in node.on_node(SEARCH).splitlines()]
    files = [found for kind, found in answer if kind == "file"]
    places = {kind: tuple(map(int, rest.split())) for kind, rest in answer if kind != "file"}
    # What shows that the search finds.
    assert places.pop("control")[1] == 2
    assert places.pop("files") > (100,)
    assert set(places) >= {"user data", "journal", "command lines", "environments"}
    assert all(size > 500 for size, _ in places.values()), places
    assert all(count == 0 for _, count in places.values()), places
    assert files == ["/run/vace/tls.key", "/run/vace/token"]


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
