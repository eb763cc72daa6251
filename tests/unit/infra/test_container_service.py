"""What ACS wants of an account is asked before anything is made; disks and clusters leave none."""

from typing import Any

import pytest

from infra import config, container_service, leftover_clusters
from infra.cluster_access import AccessError
from infra.dynamic import emptied
from infra.leftover_lists import CLUSTER, RELEASE
from infra.leftovers import Cloud
from infra.preflight import PreflightError

TAGS = {"project": "wan-vace", "stack": "dev"}


class CloudError(Exception):
    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code
        self.message = code


class Service:
    """CS with clusters, a quota and roles; what is an error is raised."""

    def __init__(self, *names: str, quota: int = 3, missing: tuple[str, ...] = ()) -> None:
        self.clusters = {
            f"c-{name}": {"name": name, "cluster_id": f"c-{name}", "state": "running"}
            for name in names
        }
        self.quota, self.missing = quota, missing
        self.error: Exception | None = None
        self.calls: list[str] = []

    def __call__(self, action: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self.calls.append(action)
        if self.error:
            raise self.error
        if action == "CheckServiceRole":
            names = [row["name"] for row in parameters["roles"]]
            return {"roles": [{"name": n, "granted": n not in self.missing} for n in names]}
        if action == "DescribeUserQuota":
            return {"ask_cluster_quota": self.quota}
        if action == "DescribeClustersV1":
            part = parameters.get("name", "")
            return {"clusters": [row for row in self.clusters.values() if part in row["name"]]}
        cluster = self.clusters.get(parameters["ClusterId"])
        if cluster is None:
            raise CloudError("ErrorClusterNotFound")
        if action == "DeleteCluster":
            if cluster["state"] == "initial":
                cluster["state"] = "running"
                raise CloudError("ErrorClusterState")
            cluster["state"] = "deleting"
        elif cluster["state"] == "deleting":
            del self.clusters[parameters["ClusterId"]]
        return dict(cluster)


@pytest.fixture
def settings(raw: dict[str, Any]) -> config.Settings:
    return config.parse({**raw, "target": "acs"}, project="wan-vace", stack="dev")


def test_a_ready_account_passes(settings: config.Settings) -> None:
    container_service.check(settings, Service("other"))


def test_missing_roles_are_named_with_the_way_to_them(settings: config.Settings) -> None:
    service = Service(missing=("AliyunServiceRoleForAcc",))
    with pytest.raises(PreflightError, match="AliyunServiceRoleForAcc") as caught:
        container_service.check(settings, service)
    assert "acs.console.aliyun.com" in str(caught.value)


def test_a_full_quota_names_the_clusters_that_use_it(settings: config.Settings) -> None:
    with pytest.raises(PreflightError, match="a, b, c"):
        container_service.check(settings, Service("a", "b", "c"))


def test_a_stack_that_has_its_cluster_needs_no_room(settings: config.Settings) -> None:
    """Prevents the second `pulumi up` of an account with a full quota from failing."""
    container_service.check(settings, Service("a", "b", "wan-vace-dev"))


def test_a_service_that_is_not_opened_is_told(settings: config.Settings) -> None:
    service = Service()
    service.error = CloudError("ErrorServiceNotOpen")
    with pytest.raises(PreflightError, match="not opened the container service"):
        container_service.check(settings, service)


def test_what_may_not_be_asked_stops_nobody(settings: config.Settings) -> None:
    service = Service()
    service.error = CloudError("StatusForbidden")
    container_service.check(settings, service)


def test_the_other_target_asks_nothing(raw: dict[str, Any]) -> None:
    container_service.checker(config.parse(raw, project="wan-vace", stack="dev"))()


@pytest.mark.parametrize("state", ["running", "initial", "deleting"])
def test_a_left_cluster_is_deleted_and_waited_for_in_any_state(state: str) -> None:
    """Its vSwitches, which recovery deletes next, cannot go while it exists."""
    service = Service("wan-vace-dev")
    service.clusters["c-wan-vace-dev"]["state"] = state
    leftover_clusters.delete(service, "c-wan-vace-dev", pause=lambda _: None)
    assert service.clusters == {}


@pytest.mark.parametrize(
    ("tags", "ours"),
    [
        ([], True),
        ([{"key": "ack.aliyun.com", "value": "c"}], True),
        ([{"key": key, "value": value} for key, value in TAGS.items()], True),
        ([{"key": "project", "value": "other"}], False),
    ],
)
def test_only_this_stacks_cluster_is_found(tags: list[dict[str, str]], ours: bool) -> None:
    service = Service("wan-vace-dev", "wan-vace-dev-2")
    service.clusters["c-wan-vace-dev"]["tags"] = tags  # type: ignore[assignment]
    cloud = Cloud("cn-hangzhou", frozenset(), lambda _: service)
    found = cloud.find(CLUSTER, {"name": "wan-vace-dev", "tags": TAGS})
    assert [(item.label, item.delete is not None) for item in found] == [("c-wan-vace-dev", ours)]


def volume(name: str, namespace: str, policy: str = "Delete") -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "spec": {"claimRef": {"namespace": namespace}, "persistentVolumeReclaimPolicy": policy},
    }


class Volumes:
    def __init__(self, *answers: list[dict[str, Any]]) -> None:
        self.answers = list(answers)

    def get(self, _path: str, **_query: str) -> dict[str, Any]:
        return {"items": self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]}


def test_destroy_waits_for_the_namespaces_disks_only() -> None:
    others = [volume("b", "other"), volume("c", "ns", "Retain")]
    emptied.wait(Volumes([volume("a", "ns"), *others], others), "ns", pause=lambda _: None)


def test_disks_that_stay_are_named() -> None:
    times = iter([0.0, 0.0, 1000.0])
    with pytest.raises(emptied.DisksRemainError, match="the volumes a of namespace ns"):
        emptied.wait(
            Volumes([volume("a", "ns")]), "ns", clock=lambda: next(times), pause=lambda _: None
        )


class Objects:
    """A namespace with a Deployment and helm's record, and nothing else."""

    def __init__(self) -> None:
        base = "/namespaces/ns"
        self.left = {f"/apis/apps/v1{base}/deployments/vace", f"/api/v1{base}/secrets/sh.helm.vace"}
        self.asked: list[str] = []

    def get(self, path: str, **query: str) -> dict[str, Any]:
        self.asked.append(query["labelSelector"])
        record = query["labelSelector"].startswith("owner=helm")
        names = [
            each.rsplit("/", 1)[1]
            for each in self.left
            if each.startswith(f"{path}/") and record == ("sh.helm" in each)
        ]
        return {"items": [{"metadata": {"name": name}} for name in names]}

    def delete(self, path: str, **_query: str) -> None:
        self.left.discard(path)


def test_a_release_that_a_killed_engine_left_is_removed_with_helms_record() -> None:
    """Otherwise the next `up` fails: cannot re-use a name that is still in use."""
    inside = Objects()
    known = frozenset({(CLUSTER, "c-1")})
    cloud = Cloud("cn-hangzhou", known, lambda _: Service(), lambda _ask, _id: inside)
    (found,) = cloud.find(RELEASE, {"namespace": "ns", "name": "vace"})
    assert found.delete is not None
    found.delete()
    assert inside.left == set()
    assert cloud.find(RELEASE, {"namespace": "ns", "name": "vace"}) == []


def test_a_release_that_the_state_knows_is_left_alone() -> None:
    known = frozenset({(CLUSTER, "c-1"), (RELEASE, "ns/vace")})
    cloud = Cloud("cn-hangzhou", known, lambda _: Service(), lambda _ask, _id: Objects())
    assert cloud.find(RELEASE, {"namespace": "ns", "name": "vace"}) == []


@pytest.mark.parametrize(
    "error",
    [ConnectionRefusedError("dead"), CloudError("ErrorClusterNotFound"), AccessError("none")],
    ids=lambda error: type(error).__name__,
)
def test_a_cluster_that_cannot_be_asked_can_still_be_destroyed(error: Exception) -> None:
    class Dead:
        def get(self, path: str, **_query: str) -> dict[str, Any]:
            raise error

    emptied.finish(Dead(), "ns")
