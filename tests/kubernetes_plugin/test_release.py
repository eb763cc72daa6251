"""Releases and objects against a Kubernetes API, without the engine."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rehearsal.kubernetes_plugin import wire
from rehearsal.kubernetes_plugin.helm import Helm
from rehearsal.kubernetes_plugin.kinds import InitializationError, ResourceError
from rehearsal.kubernetes_plugin.kubeobjects import KubeObject
from rehearsal.kubernetes_plugin.release import Release
from rehearsal.kubernetes_plugin.tools import Processes
from tests.kubernetes_plugin.conftest import program

pytestmark = pytest.mark.engine
TEMPLATE = """apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ .Release.Name }}"}
data: {size: "{{ .Values.size }}"}
"""
HOOK = """apiVersion: batch/v1
kind: Job
metadata:
  name: "{{ .Release.Name }}-hook"
  annotations: {helm.sh/hook: post-install}
spec:
  template:
    spec: {restartPolicy: Never, containers: [{name: c, image: none.invalid/x}]}
"""


@pytest.fixture
def release(kube_api: Path, monkeypatch: pytest.MonkeyPatch) -> Release:
    for name in ("helm", "kubectl"):
        monkeypatch.setenv(f"VACE_{name.upper()}", program(name))
    return Release(Helm(kube_api, Processes()), "default")


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    (tmp_path / "chart" / "templates").mkdir(parents=True)
    (tmp_path / "chart" / "Chart.yaml").write_text("apiVersion: v2\nname: tiny\nversion: 1.2.3\n")
    (tmp_path / "chart" / "templates" / "map.yaml").write_text(TEMPLATE)
    return tmp_path / "chart"


def inputs_of(release: Release, chart: Path, name: str, **more: Any) -> wire.Properties:
    given = {"chart": str(chart), "name": name, "values": wire.secret({"size": 1}), **more}
    checked = release.check("r", b"", {}, given)
    assert checked.failures == []
    return checked.inputs


def test_a_release_is_made_changed_noticed_when_gone_and_removed(
    release: Release, chart: Path
) -> None:
    """The whole life of a release, with its values secret all the way."""
    inputs = inputs_of(release, chart, "life")
    made = release.create(inputs, 60)
    assert made.identity == "default/life"
    assert made.properties["status"]["revision"] == 1
    assert wire.is_secret(made.properties["values"])
    assert release.diff(inputs, inputs_of(release, chart, "life"), []).paths == {}
    read = release.read("default/life", inputs)
    assert read is not None
    assert read.inputs == inputs

    (chart / "templates" / "map.yaml").write_text(TEMPLATE + "# \n" + "immutable: false\n")
    edited = inputs_of(release, chart, "life", values=wire.secret({"size": 2}))
    assert set(release.diff(inputs, edited, []).paths) == {"checksum", "values.size"}
    assert release.update("default/life", edited, 60).properties["status"]["revision"] == 2
    with pytest.raises(ResourceError, match="exists already"):
        release.create(edited, 60)

    release.delete("default/life", edited, 60)
    assert release.read("default/life", edited) is None
    release.delete("default/life", edited, 60)


def test_a_failed_hook_is_recorded_so_that_the_next_up_tries_again(
    release: Release, chart: Path
) -> None:
    """A release that exists but failed must be in the state, or nobody removes it."""
    (chart / "templates" / "hook.yaml").write_text(HOOK)
    inputs = inputs_of(release, chart, "hooked", skipAwait=True)
    with pytest.raises(InitializationError) as failed:
        release.create(inputs, 2)
    assert failed.value.properties["status"]["status"] == "failed"
    with pytest.raises(InitializationError, match="status failed"):
        release.read("default/hooked", inputs)
    (chart / "templates" / "hook.yaml").unlink()
    mended = inputs_of(release, chart, "hooked", skipAwait=True)
    assert release.update("default/hooked", mended, 60).properties["status"]["status"] == "deployed"
    release.delete("default/hooked", mended, 60)


def test_what_a_killed_helm_has_left_is_cleared(
    release: Release, chart: Path, kube_api: Path
) -> None:
    """Helm refuses every change of a release that it believes to be in work."""
    (chart / "templates" / "hook.yaml").write_text(HOOK)
    command = [program("helm"), "install", "cut", str(chart), "--set", "size=1"]
    helm = subprocess.Popen(
        command, env={**os.environ, "KUBECONFIG": str(kube_api)}, stderr=subprocess.DEVNULL
    )
    api = Helm(kube_api, Processes())
    while (status := api.status("default", "cut")) is None or not status.pending:
        assert helm.poll() is None
    helm.kill()
    helm.wait()
    (chart / "templates" / "hook.yaml").unlink()
    inputs = inputs_of(release, chart, "cut", skipAwait=True)
    assert release.create(inputs, 60).properties["status"]["status"] == "deployed"
    release.delete("default/cut", inputs, 60)


def test_options_that_would_be_ignored_are_refused(release: Release, chart: Path) -> None:
    """An option without effect makes a rehearsal say something about nothing."""
    checked = release.check("r", b"", {}, {"chart": str(chart), "verify": True})
    assert [key for key, _ in checked.failures] == ["verify"]


def test_a_namespace_and_a_secret_live_and_end(release: Release, kube_api: Path) -> None:
    """Secret contents must be secret in the state, and deletion must wait until the end."""
    spaces = KubeObject("Namespace", kube_api, Processes())
    inputs = spaces.check("n", b"", {}, {"metadata": {"name": "lives"}}).inputs
    assert spaces.create(inputs, 0).identity == "lives"
    secrets = KubeObject("Secret", kube_api, Processes(), "default")
    given = {"metadata": {"name": "s", "namespace": "lives"}, "stringData": {"token": "abc"}}
    wanted = secrets.check("s", b"", {}, given).inputs
    made = secrets.create(wanted, 0)
    assert made.identity == "lives/s"
    assert wire.is_secret(made.properties["data"])
    assert wire.reveal(made.properties["data"]) == {"token": "YWJj"}
    read = secrets.read("lives/s", wanted)
    assert read is not None
    assert read.inputs == wanted
    other = secrets.check("s", b"", {}, {**given, "stringData": {"token": "abd"}}).inputs
    found = secrets.diff(wanted, other, [])
    assert found.replaces == ["stringData.token"]
    assert found.delete_first
    secrets.update("lives/s", other, 0)
    drifted = secrets.read("lives/s", wanted)
    assert drifted is not None
    assert wire.reveal(drifted.inputs["data"]) == {"token": "YWJk"}
    spaces.delete("lives", inputs, 60)
    assert spaces.read("lives", inputs) is None
    assert secrets.read("lives/s", wanted) is None
