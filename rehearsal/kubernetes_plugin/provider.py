"""The protocol between Pulumi's engine and the plugin."""
# ruff: noqa: N802 - the protocol names the methods

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import grpc  # type: ignore[import-untyped]
from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc, status_pb2

from rehearsal.kubernetes_plugin import kubeconfig, wire
from rehearsal.kubernetes_plugin.helm import Helm
from rehearsal.kubernetes_plugin.installation import VERSION
from rehearsal.kubernetes_plugin.kinds import Found, InitializationError, Kind, ResourceError
from rehearsal.kubernetes_plugin.kubeobjects import KubeObject
from rehearsal.kubernetes_plugin.release import Release
from rehearsal.kubernetes_plugin.tools import Processes, ToolError

TYPES = (
    "kubernetes:helm.sh/v3:Release",
    "kubernetes:core/v1:Namespace",
    "kubernetes:core/v1:Secret",
)
_IGNORED_CONFIG = ("version", "pluginDownloadURL")
_MUTABLE = "enableSecretMutable"


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """One configured provider; each call runs in a thread of its own."""

    def __init__(self, processes: Processes, folder: Path) -> None:
        """``folder`` is the project's; relative paths of the program count from it."""
        self._processes = processes
        self._folder = folder
        self._private = tempfile.TemporaryDirectory(prefix="wan-vace-kubernetes-")
        self._kinds: dict[str, Kind] = {}
        self._unusable = "the provider has not been configured"

    def close(self) -> None:
        """Remove the kubeconfig that was written for the tools."""
        self._private.cleanup()

    def Handshake(self, request: Any, context: Any) -> Any:
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True)

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        return plugin_pb2.PluginInfo(version=VERSION)

    def GetSchema(self, request: Any, context: Any) -> Any:
        return provider_pb2.GetSchemaResponse(schema="{}")

    def Attach(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()

    def Cancel(self, request: Any, context: Any) -> Any:
        self._processes.cancel()
        return empty_pb2.Empty()

    def CheckConfig(self, request: Any, context: Any) -> Any:
        news = wire.load(request.news)
        if news.get("kubeconfig"):
            news["kubeconfig"] = wire.secret(news["kubeconfig"])
        failures = []
        plain = wire.reveal(news)
        if plain.get("kubeconfig") and not wire.has_unknown(plain):
            try:
                self._parse(plain)
            except kubeconfig.KubeconfigError as error:
                failures = [provider_pb2.CheckFailure(property="kubeconfig", reason=str(error))]
        return provider_pb2.CheckResponse(inputs=wire.dump(news), failures=failures)

    def DiffConfig(self, request: Any, context: Any) -> Any:
        olds = wire.reveal(wire.load(request.old_inputs) or wire.load(request.olds))
        news = wire.reveal(wire.load(request.news))
        names = sorted(
            key
            for key in olds.keys() | news.keys()
            if key not in _IGNORED_CONFIG and olds.get(key) != news.get(key)
        )
        replaces = []
        which = [key for key in names if key in ("kubeconfig", "context")]
        # Another address is another cluster: what is in the old one must be made anew.
        if which and not wire.has_unknown(news) and self._servers(olds) != self._servers(news):
            replaces = which
        return provider_pb2.DiffResponse(
            changes=_changes(bool(names)), diffs=names, replaces=replaces
        )

    def Configure(self, request: Any, context: Any) -> Any:
        config = wire.reveal(wire.load(request.args))
        self._unusable = ""
        if not config.get("kubeconfig"):
            self._unusable = (
                "the provider has no kubeconfig; the stand-in for the Kubernetes plugin takes none "
                "from the environment, because that may be of a cluster in use. Pass `kubeconfig` "
                "to kubernetes.Provider and the provider to the resource."
            )
        elif wire.has_unknown(config):
            self._unusable = "the provider's kubeconfig is not known yet"
        else:
            self._connect(config, context)
        return provider_pb2.ConfigureResponse(
            acceptSecrets=True, supportsPreview=True, acceptResources=False, acceptOutputs=False
        )

    def _connect(self, config: wire.Properties, context: Any) -> None:
        try:
            document = self._parse(config)
        except kubeconfig.KubeconfigError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        path = kubeconfig.write(document, Path(self._private.name) / "kubeconfig")
        namespace = str(config.get("namespace") or "default")
        ambient = os.environ.get("PULUMI_K8S_ENABLE_SECRET_MUTABLE", "")
        mutable = str(config.get(_MUTABLE, ambient)).lower() == "true"
        made: tuple[Kind, ...] = (
            Release(Helm(path, self._processes), namespace),
            KubeObject("Namespace", path, self._processes),
            KubeObject("Secret", path, self._processes, namespace, mutable=mutable),
        )
        self._kinds = dict(zip(TYPES, made, strict=True))

    def Check(self, request: Any, context: Any) -> Any:
        def work(kind: Kind) -> Any:
            name = request.urn.rsplit("::", 1)[1]
            olds, news = wire.load(request.olds), wire.load(request.news)
            checked = kind.check(name, request.randomSeed, olds, news)
            return provider_pb2.CheckResponse(
                inputs=wire.dump(checked.inputs),
                failures=[
                    provider_pb2.CheckFailure(property=key, reason=reason)
                    for key, reason in checked.failures
                ],
            )

        return self._with(request, context, work)

    def Diff(self, request: Any, context: Any) -> Any:
        def work(kind: Kind) -> Any:
            olds = wire.load(request.old_inputs) or wire.load(request.olds)
            found = kind.diff(olds, wire.load(request.news), list(request.ignoreChanges))
            detailed = {
                path: provider_pb2.PropertyDiff(
                    kind=provider_pb2.PropertyDiff.Kind.Value(
                        change + ("_REPLACE" if path in found.replaces else "")
                    ),
                    inputDiff=True,
                )
                for path, change in found.paths.items()
            }
            return provider_pb2.DiffResponse(
                changes=_changes(bool(found.paths)),
                diffs=sorted({wire.top_level(path) for path in found.paths}),
                replaces=found.replaces,
                detailedDiff=detailed,
                hasDetailedDiff=True,
                deleteBeforeReplace=bool(found.replaces) and found.delete_first,
            )

        return self._with(request, context, work)

    def Create(self, request: Any, context: Any) -> Any:
        def work(kind: Kind) -> Any:
            inputs = wire.load(request.properties)
            if request.preview:
                return provider_pb2.CreateResponse(properties=wire.dump(kind.preview(inputs)))
            made = kind.create(inputs, int(request.timeout))
            return provider_pb2.CreateResponse(
                id=made.identity, properties=wire.dump(made.properties)
            )

        return self._with(request, context, work)

    def Update(self, request: Any, context: Any) -> Any:
        def work(kind: Kind) -> Any:
            inputs = wire.load(request.news)
            if request.preview:
                return provider_pb2.UpdateResponse(properties=wire.dump(kind.preview(inputs)))
            made = kind.update(request.id, inputs, int(request.timeout))
            return provider_pb2.UpdateResponse(properties=wire.dump(made.properties))

        return self._with(request, context, work)

    def Read(self, request: Any, context: Any) -> Any:
        def work(kind: Kind) -> Any:
            found = kind.read(request.id, wire.load(request.inputs))
            if found is None:
                return provider_pb2.ReadResponse()
            return _read_response(found)

        return self._with(request, context, work)

    def Delete(self, request: Any, context: Any) -> Any:
        def work(kind: Kind) -> Any:
            inputs = wire.load(request.old_inputs) or wire.load(request.properties)
            kind.delete(request.id, inputs, int(request.timeout))
            return empty_pb2.Empty()

        return self._with(request, context, work)

    def _with(self, request: Any, context: Any, work: Callable[[Kind], Any]) -> Any:
        token = request.urn.split("::")[2].rsplit("$", 1)[-1]
        if token not in TYPES:
            context.abort(
                grpc.StatusCode.UNIMPLEMENTED,
                f"{token} is not known to the stand-in for the Kubernetes plugin, which has "
                f"{', '.join(TYPES)}. Put the object into the chart, or use the real plugin.",
            )
        if token not in self._kinds:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, self._unusable)
        try:
            return work(self._kinds[token])
        except InitializationError as error:
            _abort_partially(context, error)
        except (ResourceError, ToolError) as error:
            context.abort(grpc.StatusCode.UNKNOWN, str(error))

    def _parse(self, config: wire.Properties) -> dict[str, Any]:
        return kubeconfig.parse(
            str(config["kubeconfig"]), self._folder, str(config.get("context") or "")
        )

    def _servers(self, config: wire.Properties) -> list[str]:
        try:
            return kubeconfig.servers(self._parse(config)) if config.get("kubeconfig") else []
        except kubeconfig.KubeconfigError:
            return []


def _changes(some: bool) -> Any:
    kinds = provider_pb2.DiffResponse
    return kinds.DIFF_SOME if some else kinds.DIFF_NONE


def _read_response(found: Found) -> Any:
    return provider_pb2.ReadResponse(
        id=found.identity,
        properties=wire.dump(found.properties),
        inputs=wire.dump(found.inputs),
    )


def _abort_partially(context: Any, error: InitializationError) -> NoReturn:
    """Fail so that the engine records the resource, and tries again with the next up."""
    detail = provider_pb2.ErrorResourceInitFailed(
        id=error.identity,
        properties=wire.dump(error.properties),
        inputs=wire.dump(error.inputs),
        reasons=[str(error)],
    )
    code = grpc.StatusCode.UNKNOWN
    status = status_pb2.Status(code=code.value[0], message=str(error))
    status.details.add().Pack(detail)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(code, str(error))
    raise AssertionError("abort() raises")
