"""Access to the cluster: the kubeconfig of the stack holds no credential, the plugin gets one."""

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra import cluster_access, openapi, pki
from infra.kubernetes_api import context

REPOSITORY = Path(__file__).resolve().parents[3]


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def answer() -> dict[str, Any]:
    document = {
        "clusters": [
            {
                "name": "kubernetes",
                "cluster": {
                    "server": "https://203.0.113.20:6443",
                    "certificate-authority-data": encoded("AUTHORITY"),
                },
            }
        ],
        "users": [
            {
                "name": "u",
                "user": {
                    "client-certificate-data": encoded("CERTIFICATE"),
                    "client-key-data": encoded("PRIVATE"),
                },
            }
        ],
    }
    return {"config": yaml.safe_dump(document), "expiration": "2026-11-24T13:00:00Z"}


def test_access_is_asked_for_by_path_and_for_the_wanted_time() -> None:
    asked: list[Any] = []

    def ask(action: str, parameters: dict[str, Any]) -> dict[str, Any]:
        asked.append((action, parameters))
        return answer()

    access = cluster_access.fetch(ask, "c1", minutes=15, private=True)
    assert access.server == "https://203.0.113.20:6443"
    assert (access.certificate, access.private_key) == ("CERTIFICATE", "PRIVATE")
    style, method, path, rest = openapi.shape("cs", *asked[0])
    assert (style, method, path) == ("ROA", "GET", "/k8s/c1/user_config")
    assert rest == {"PrivateIpAddress": "true", "TemporaryDurationMinutes": "15"}


@pytest.mark.parametrize("text", ["", "clusters: []", "no: kubeconfig", "{", "- a"])
def test_an_answer_that_is_no_kubeconfig_is_told_in_words(text: str) -> None:
    with pytest.raises(cluster_access.AccessError, match="apiServerPublic"):
        cluster_access.parse(text)


def test_the_stacks_kubeconfig_holds_no_credential_and_no_path_of_this_computer() -> None:
    """A secret in it would be in the state; a path would differ on another computer."""
    access = cluster_access.parse(answer()["config"])
    text = cluster_access.exec_kubeconfig(
        name="vace",
        server=access.server,
        authority=access.authority,
        region="cn-hangzhou",
        cluster_id="c1",
        private=False,
    )
    assert encoded("PRIVATE") not in text
    assert encoded("CERTIFICATE") not in text
    assert str(REPOSITORY) not in text
    assert yaml.safe_load(text)["users"][0]["user"]["exec"]["interactiveMode"] == "Never"


@pytest.mark.parametrize("folder", [".", "infra"])
def test_the_plugin_is_found_from_the_repository_and_from_the_programs_folder(folder: str) -> None:
    """The engine runs plugins in the program's folder, people run kubectl in the repository."""
    text = cluster_access.exec_kubeconfig(
        name="v", server="https://x", authority="A", region="r", cluster_id="c", private=False
    )
    plugin = yaml.safe_load(text)["users"][0]["user"]["exec"]
    command = [plugin["command"], *plugin["args"][:3], "--help"]
    ended = subprocess.run(
        command, cwd=REPOSITORY / folder, check=False, text=True, capture_output=True, timeout=30
    )
    assert ended.returncode == 0, ended.stderr
    assert "--cluster-id" in ended.stdout


def test_the_plugin_prints_what_client_go_reads() -> None:
    access = cluster_access.parse(answer()["config"], "2026-11-24T13:00:00Z")
    document = json.loads(cluster_access.exec_credential(access))
    assert document["kind"] == "ExecCredential"
    assert document["apiVersion"] == "client.authentication.k8s.io/v1"
    assert document["status"] == {
        "clientCertificateData": "CERTIFICATE",
        "clientKeyData": "PRIVATE",
        "expirationTimestamp": "2026-11-24T13:00:00Z",
    }


def test_a_full_kubeconfig_stands_for_itself() -> None:
    access = cluster_access.parse(answer()["config"])
    again = cluster_access.parse(cluster_access.full_kubeconfig("v", access))
    assert again == access


def test_tls_trusts_the_clusters_authority_alone_and_leaves_no_key_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    authority = pki.make_authority("test")
    pair = pki.make_server(authority, ["client.example.com"])
    made = context(
        cluster_access.Access(
            "https://x", authority.certificate, pair.certificate, pair.private_key
        )
    )
    assert len(made.get_ca_certs()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_load_balancer_region_has_the_endpoint_of_the_sdks_table() -> None:
    assert openapi.endpoint("slb", "cn-hangzhou") == "slb.aliyuncs.com"
    assert openapi.endpoint("slb", "cn-wulanchabu") == "slb.cn-wulanchabu.aliyuncs.com"
    assert openapi.endpoint("cs", "cn-hangzhou") == "cs.cn-hangzhou.aliyuncs.com"


def test_a_posted_action_keeps_its_parameters_for_the_body() -> None:
    roles = {"roles": [{"name": "r"}]}
    assert openapi.shape("cs", "CheckServiceRole", roles) == (
        "ROA",
        "POST",
        "/ram/check-service-role",
        roles,
    )
