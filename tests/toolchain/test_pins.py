"""The versions in pins.py are those that everything else uses."""

import json
import re

from rehearsal.toolchain import gobuild, pins

GO_MODULES = (
    pins.PULUMI_MODULE,
    pins.ALICLOUD_MODULE,
    pins.KUBERNETES_MODULE,
    pins.HELM_MODULE,
    pins.COREDNS_MODULE,
    pins.KUBECONFORM_MODULE,
)


def locked(package: str) -> str:
    lock = (pins.REPOSITORY / "requirements.lock").read_text()
    found = re.search(rf"^{package}==([^ ]+)", lock, re.MULTILINE)
    assert found, f"{package} is not in requirements.lock"
    return found[1]


def test_the_engine_has_the_version_of_its_python_sdk() -> None:
    """Prevents a language host and an SDK that speak different protocols."""
    assert locked("pulumi") == pins.PULUMI_VERSION
    go_mod = (pins.PULUMI_MODULE / "go.mod").read_text()
    assert f"github.com/pulumi/pulumi/pkg/v3 v{pins.PULUMI_VERSION}\n" in go_mod
    assert re.search(rf"pulumi/pulumi/sdk/v3 v{re.escape(pins.PULUMI_VERSION)}\b", go_mod)


def test_the_provider_has_the_version_of_its_python_sdk() -> None:
    """Prevents the engine from looking for a plugin of another version than is installed."""
    assert locked("pulumi-alicloud") == pins.ALICLOUD_VERSION
    table = json.loads((pins.ALICLOUD_MODULE / "resources.json").read_text())
    assert table["version"] == pins.ALICLOUD_VERSION


def test_the_kubernetes_provider_has_the_version_of_its_python_sdk() -> None:
    """Prevents the engine from looking for a plugin of another version than is installed."""
    assert locked("pulumi-kubernetes") == pins.KUBERNETES_PLUGIN_VERSION


def test_the_programs_of_a_cluster_are_built_from_the_versions_that_they_are_called() -> None:
    """Prevents a program that says one version and is another."""
    for module, name, version in (
        (pins.KUBERNETES_MODULE, "k8s.io/kubernetes", pins.KUBERNETES_VERSION),
        (pins.KUBERNETES_MODULE, "go.etcd.io/etcd/server/v3", pins.ETCD_VERSION),
        (pins.HELM_MODULE, "helm.sh/helm/v4", pins.HELM_VERSION),
        (pins.COREDNS_MODULE, "github.com/coredns/coredns", pins.COREDNS_VERSION),
        (pins.KUBECONFORM_MODULE, "github.com/yannh/kubeconform", pins.KUBECONFORM_VERSION),
    ):
        assert f"{name} v{version}\n" in (module / "go.mod").read_text()


def test_all_libraries_of_kubernetes_have_the_version_of_the_cluster() -> None:
    """Prevents an API server with the types of another release."""
    go_mod = (pins.KUBERNETES_MODULE / "go.mod").read_text()
    replaced = re.findall(r"^replace (k8s\.io/\S+) => (\S+) v(\S+)$", go_mod, re.MULTILINE)
    assert len(replaced) > 25
    for name, by, version in replaced:
        assert (by, version) == (name, "0." + pins.KUBERNETES_VERSION.partition(".")[2])


def test_each_go_module_pins_the_content_of_what_it_requires() -> None:
    """Prevents a build from taking whatever a proxy serves."""
    for module in GO_MODULES:
        sums = (module / "go.sum").read_text()
        go_mod = (module / "go.mod").read_text()
        replaced = dict(re.findall(r"^replace (\S+) => (\S+ v\S+)$", go_mod, re.MULTILINE))
        required = re.findall(r"^\t?(?:require )?((\S+) v\S+)", go_mod, re.MULTILINE)
        assert required
        for line, name in required:
            pinned = replaced.get(name, line)
            assert f"{pinned} " in sums or f"{pinned}/go.mod " in sums, f"{module.name}: {line}"


def test_the_oldest_go_version_is_read_from_go_mod() -> None:
    """Prevents a build that starts with a compiler which cannot finish it."""
    assert gobuild.required_go("module x\n\ngo 1.26\n") == (1, 26)
    assert gobuild.required_go("module x\n\ngo 1.26.3\ntoolchain go1.27.0\n") == (1, 26, 3)
