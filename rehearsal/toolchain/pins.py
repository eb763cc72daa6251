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
KUBERNETES_PLUGIN_VERSION = "4.34.2"
KUBERNETES_VERSION = "1.34.2"
ETCD_VERSION = "3.6.4"
HELM_VERSION = "4.3.0"
COREDNS_VERSION = "1.14.0"
KUBECONFORM_VERSION = "0.7.0"
PAUSE_VERSION = "1.0.0"
"""The pause program is this repository's own."""

PULUMI_MODULE = TOOLCHAIN / "go" / "pulumi"
ALICLOUD_MODULE = TOOLCHAIN / "go" / "alicloud"
KUBERNETES_MODULE = TOOLCHAIN / "go" / "kubernetes"
HELM_MODULE = TOOLCHAIN / "go" / "helm"
COREDNS_MODULE = TOOLCHAIN / "go" / "coredns"
KUBECONFORM_MODULE = TOOLCHAIN / "go" / "kubeconform"
PAUSE_MODULE = TOOLCHAIN / "go" / "pause"
FAST_WAITS = TOOLCHAIN / "go" / "fast-waits"
LANGUAGE_HOST = TOOLCHAIN / "host" / "language_host.py"

PULUMI_RELEASES = "https://get.pulumi.com/releases/sdk"
"""Where Pulumi publishes its command-line program, beside a file of SHA-256 sums."""
PLUGIN_RELEASES = "https://get.pulumi.com/releases/plugins"
"""Where the program itself looks for plugins; asked here only whether it can be reached."""
KUBERNETES_RELEASES = "https://dl.k8s.io/release"
"""Where Kubernetes publishes its programs, each beside its SHA-256 sum."""
HELM_RELEASES = "https://get.helm.sh"
"""Where Helm publishes its archives, each beside its SHA-256 sum."""

# Measured on 2 cores with an empty Go build cache and downloaded modules.
TYPICAL_SECONDS = {
    "pulumi": 200.0,
    "alicloud": 300.0,
    "alicloud-fast": 300.0,
    "etcd": 25.0,
    "kube-apiserver": 130.0,
    "kube-controller-manager": 50.0,
    "kube-scheduler": 6.0,
    "kubelet": 25.0,
    "kube-proxy": 10.0,
    "kubectl": 20.0,
    "helm": 60.0,
    "coredns": 45.0,
    "pause": 2.0,
    "kubeconform": 10.0,
    "packages": 90.0,
    "venv": 120.0,
}
