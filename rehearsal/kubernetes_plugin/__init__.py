"""A stand-in for Pulumi's Kubernetes plugin where the real one cannot be had; see README.md."""

from rehearsal.kubernetes_plugin.installation import VERSION, install

__all__ = ["VERSION", "install"]
