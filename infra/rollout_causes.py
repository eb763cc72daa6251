"""Causes why a pod does not come up, each as one sentence with its remedy. Pure."""

import re

CARD_LABEL = "alibabacloud.com/gpu-model-series"
ASK = "run `pulumi up` again after that"

ACS_REASONS = {
    "NoStock": "stock",
    "StockExhaust": "stock",
    "StockClose": "stock",
    "FeatureGetNoPermission": "permission",
    "DiskCapacityQuotaFull": "disk",
    "QuotaExceeded": "quota",
    "FailedScheduling": "scheduling",
}
"""Final reasons of ACS. Creating, Throttling and UnknownError pass by waiting."""
PULL_REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
    }
)
CONFIG_REASONS = frozenset(
    {
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "PostStartHookError",
    }
)

# Exit codes of the entry point, vace-comfyui (images/comfyui).
EXITS = {
    64: ("its settings are wrong", "correct what the log names"),
    65: (
        "the weights differ from what the image's manifest says",
        "use an image that was pushed whole (`python -m images verify`), or empty the claim with "
        "the weights so that they are fetched anew",
    ),
    66: (
        "the GPU is missing, or its driver is too old for the image",
        "set gpuCard and gpuDriverVersion to what the log asks for",
    ),
    67: (
        "a folder cannot be written or is full",
        "raise storageGiB or podEphemeralGiB",
    ),
    68: ("the video encoder of the image does not work", "use another comfyuiImage"),
    72: ("the kernel killed ComfyUI for want of memory", "raise podMemoryGiB"),
    75: ("it makes no video: its warm-up failed", "correct what the log names"),
}


def acs_reason(message: str) -> str:
    """Return the reason of ACS that a scheduler's message names, or an empty text."""
    return next((each for each in ACS_REASONS if each in message), "")


def acs(pod: str, card: str, reason: str, message: str) -> str:
    """Return the sentence for a reason of ACS; empty for one that passes by waiting."""
    kind = ACS_REASONS.get(reason)
    what = f"the GPU card {card}" if card else "what it asks for"
    said = f" ({reason}: {_short(message)})" if message else f" ({reason})"
    sentences = {
        "stock": f"ACS has {what} not in stock in the zones of this cluster; set gpuCard to "
        "another card, bestEffort to false, or zone and secondZone to others in a new stack, or "
        "try again later",
        "permission": f"the account is not on the list of those that may use {what}; ask Alibaba "
        "Cloud (a ticket or sales) to allow it, or set gpuCard to another card",
        "disk": "the account's quota of disk capacity is used up; ask for more in the console's "
        "Quota Center, or lower storageGiB",
        "quota": "a quota of the account is used up (ACS gives 100 vCPU in a region at first); ask "
        "for more in the console's Quota Center, or lower podVcpu",
        "scheduling": "ACS could not place the pod; compare gpuCard, podVcpu, podMemoryGiB and the "
        "zones with what your account may use",
    }
    return f"pod {pod}: {sentences[kind]}{said}; {ASK}" if kind else ""


def unschedulable(pod: str, message: str) -> str:
    """Return the sentence for a pod that no node takes."""
    return (
        f"pod {pod}: no node takes it ({_short(message)}); compare gpuCard, podVcpu, podMemoryGiB "
        f"and podEphemeralGiB with what the cluster has, and {ASK}"
    )


def refused_pod(deployment: str, message: str) -> str:
    """Return the sentence for a Deployment whose pod the API server refuses."""
    if "exceeded quota" in message:
        return (
            f"{deployment}: the namespace's quota refuses its pod ({_short(message)}); raise the "
            f"ResourceQuota or lower podVcpu and podMemoryGiB, and {ASK}"
        )
    return (
        f"{deployment}: the cluster's rules refuse its pod ({_short(message)}); change the config "
        f"key that the rule is about, and {ASK}"
    )


def ended_pod(pod: str, reason: str, message: str | None) -> str:
    """Return the sentence for a pod that was ended as a whole."""
    more = f" ({_short(message)})" if message else ""
    return (
        f"pod {pod}: was ended, {reason}{more}; if it used too much, raise podEphemeralGiB or "
        f"podMemoryGiB, and {ASK}"
    )


def missing_object(pod: str, message: str) -> str:
    """Return the sentence for a Secret or ConfigMap that is not there; empty for other words."""
    found = re.search(r'(secret|configmap) "([^"]+)" not found', message, re.IGNORECASE)
    if not found:
        key = re.search(r"references non-existent (secret|config) key:? ?(\S+)", message)
        key = key or re.search(r"couldn't find key (\S+) in (Secret|ConfigMap) (\S+)", message)
        if not key:
            return ""
        return (
            f"pod {pod}: a Secret that it needs lacks a key ({_short(message)}); run `pulumi "
            "refresh` and then `pulumi up`, which write it again"
        )
    return (
        f"pod {pod}: the {found[1].capitalize()} {found[2]} that it needs does not exist, because "
        "it was deleted outside of Pulumi or is of another name; run `pulumi refresh` and then "
        "`pulumi up`, which make it again"
    )


def not_started(pod: str, container: str, reason: str, message: str) -> str:
    """Return the sentence for a container that could not be made."""
    return (
        f"pod {pod}: container {container} could not be made ({reason}: {_short(message)}); the "
        f"cause is in the pod's definition or in the image: correct it and {ASK}"
    )


def pull(pod: str, image: str, reason: str, message: str) -> str:
    """Return the sentence for an image that cannot be pulled; empty while it may still come."""
    lower = message.lower()
    words = ("not found", "manifest unknown", "name unknown", "404")
    if any(each in lower for each in words) or reason == "InvalidImageName":
        why = (
            "the registry has no image with this digest; compare comfyuiImage and gatewayImage "
            "with what the registry lists (`python -m images push` prints the digests)"
        )
    elif any(
        each in lower for each in ("unauthorized", "401", "403", "forbidden", "denied", "no basic")
    ):
        why = (
            "the registry refused it; set registryHost, registryUsername and registryPassword to a "
            "login that may pull, or acrInstanceId for an Enterprise instance of ACR"
        )
    elif any(each in lower for each in ("x509", "certificate", "tls:")):
        why = "the registry's certificate is not trusted; use a registry with a public one"
    elif reason == "ErrImagePull":
        # A connection may come back; the second failure (BackOff) ends the wait.
        return ""
    else:
        why = (
            "the registry was not reached; set natGateway to true, or use images of an ACR "
            "instance that this VPC is linked to"
        )
    return f"pod {pod}: image {image} cannot be pulled: {why} ({_short(message)}); then {ASK}"


def crashed(pod: str, container: str, *, code: int, reason: str, often: bool, message: str) -> str:
    """Return the sentence for a container that ended; empty while another try may help."""
    if reason == "OOMKilled":
        return (
            f"pod {pod}: container {container} used more memory than it may (OOMKilled); raise "
            f"podMemoryGiB, and {ASK}"
        )
    if code in EXITS:
        why, remedy = EXITS[code]
        return (
            f"pod {pod}: container {container} does not start, exit status {code}: {why}; "
            f"{remedy}, and {ASK}"
        )
    if not often:
        return ""
    more = f" ({_short(message)})" if message else ""
    return (
        f"pod {pod}: container {container} ends again and again with status {code}{more}; its last "
        f"log lines say why: correct that, and {ASK}"
    )


def _short(message: str, most: int = 400) -> str:
    text = " ".join(message.split())
    return text if len(text) <= most else f"{text[:most]}…"
