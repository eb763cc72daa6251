"""Everything that can go wrong between a caller and ComfyUI, each with its own remedy.

    ComfyError
    ├── WorkflowError            the graph on this side does not fit what was asked of it
    ├── Timeout                  the deadline given by the caller has passed
    ├── ConnectionProblem        the service could not be used at all
    │   ├── BadTarget            URL, token file or CA file cannot be used; nothing was sent
    │   ├── Unreachable          no answer from that address
    │   ├── WrongCertificate     TLS answered, but its certificate cannot be trusted
    │   ├── WrongToken           401
    │   ├── NotReady             502, 503 or 504
    │   ├── NotComfyUI           something else answers there
    │   ├── UnexpectedAnswer     a status that the protocol does not have at this place
    │   └── TruncatedDownload    fewer bytes than announced
    ├── SubmitProblem            the graph was not taken as it is
    │   ├── RejectedGraph        400: every fault of every node
    │   ├── PartlyRejected       200, yet some outputs were dropped from the graph
    │   └── QueueFull            429
    └── JobProblem               the graph was taken, but there is no good result
        ├── ExecutionError       a node raised; its type, message and traceback
        │   └── OutOfMemory      ... because the memory of the GPU or host ran out
        ├── NoOutput             success, without a video
        ├── CachedResult         success, but nothing new was made
        ├── Interrupted          somebody stopped it
        ├── Deleted              somebody took it out of the queue or the history
        ├── LostByRestart        neither queued nor in the history of the server as it is now
        └── Stalled              running, without any progress

``str(error)`` is one sentence of facts and one of advice; ``error.detail`` holds long material
(a traceback, the server's own words) that does not belong in a headline.
"""

# ruff: noqa: N818 - the names say what happened; the base class already says that it is an error

from __future__ import annotations


class ComfyError(Exception):
    """Base of all errors of this package.

    Attributes:
        what: what happened, with the values seen.
        remedy: what the reader can do about it.
        detail: long supporting text, or an empty string.
    """

    remedy: str = "Look at the log of the service for the time of this call."

    def __init__(self, what: str, *, remedy: str | None = None, detail: str = "") -> None:
        self.what = what
        self.remedy = type(self).remedy if remedy is None else remedy
        self.detail = detail
        super().__init__(what)

    @property
    def name(self) -> str:
        """The class name, as shown in reports."""
        return type(self).__name__

    def __str__(self) -> str:
        return f"{self.what} {self.remedy}".strip()


class WorkflowError(ComfyError):
    """The graph has no such input, or more than one."""

    remedy = "Check the workflow file: it must be saved in ComfyUI's API format."


class Timeout(ComfyError):
    """The caller's deadline passed; the last state seen is part of the message."""

    remedy = (
        "Give it more time (--timeout), or find out what the service is busy with: "
        "GET /queue lists the jobs in front."
    )


class ConnectionProblem(ComfyError):
    """The service could not be used at all."""


class BadTarget(ConnectionProblem):
    """URL, token file or CA file cannot be used. Nothing has been sent."""

    remedy = "Correct the option or the environment variable named above."


class Unreachable(ConnectionProblem):
    """No answer from that address.

    Attributes:
        nothing_sent: the connection was never made, so that the request cannot have been carried
            out and may be repeated whatever its method.
    """

    nothing_sent = False

    remedy = (
        "Check that the machine runs, that your own address is inside allowedCidrs, "
        "and that host and port are right."
    )


class WrongCertificate(ConnectionProblem):
    """TLS answered, but its certificate cannot be trusted; no request was sent."""

    remedy = (
        "Pass the authority that signed it: --ca-file with the stack's output caCertificate. "
        "If that file is in use already, the certificate was replaced since: fetch it again."
    )


class WrongToken(ConnectionProblem):
    """The service refused the token, or none was sent."""

    remedy = (
        "Fetch the current token (stack output apiToken) into the token file; "
        "it changes when tokenGeneration is raised."
    )


class NotReady(ConnectionProblem):
    """The gateway answers, but ComfyUI behind it does not yet (or no longer)."""

    remedy = "GET /readyz tells the reason; wait until it answers 200, then try again."


class NotComfyUI(ConnectionProblem):
    """Something answers at that address, but it does not speak ComfyUI's protocol."""

    remedy = "Check host and port; a proxy's or a load balancer's own page looks like this too."


class UnexpectedAnswer(ConnectionProblem):
    """A status that the protocol does not have at this place."""


class TruncatedDownload(ConnectionProblem):
    """Fewer bytes arrived than were announced; the partial file was deleted."""

    remedy = "Download it again; if it repeats, look for a full disk or a proxy that cuts answers."


class SubmitProblem(ComfyError):
    """The graph was not taken as it is."""


class RejectedGraph(SubmitProblem):
    """POST /prompt was refused; nothing runs. The message names every fault."""

    remedy = "Correct the inputs named above, or install the missing node or model, and resubmit."


class PartlyRejected(SubmitProblem):
    """POST /prompt answered 200, but outputs with faults were dropped from the graph.

    ComfyUI runs what is left; a caller that looks only at the status would wait for a video
    that is never made.

    Attributes:
        prompt_id: the id under which the rest of the graph was queued.
    """

    remedy = "Correct the inputs named above and resubmit; cancel the job that is left."

    def __init__(self, what: str, *, prompt_id: str, detail: str = "") -> None:
        super().__init__(what, detail=detail)
        self.prompt_id = prompt_id

    def rest_cancelled(self) -> None:
        """Say that the job that is left has been cancelled, as `ComfyClient.run` does."""
        self.remedy = (
            "Correct the inputs named above and resubmit; the job that was left is cancelled."
        )


class QueueFull(SubmitProblem):
    """429: the service takes no more jobs for now.

    Attributes:
        retry_after_s: the server's own suggestion in seconds, or None.
    """

    remedy = "Wait until the queue is shorter and submit again; nothing was queued."

    def __init__(self, what: str, *, retry_after_s: float | None = None, detail: str = "") -> None:
        super().__init__(what, detail=detail)
        self.retry_after_s = retry_after_s


class JobProblem(ComfyError):
    """The graph was taken, but there is no good result.

    Attributes:
        prompt_id: the job's id on the server.
    """

    def __init__(
        self, what: str, *, prompt_id: str, remedy: str | None = None, detail: str = ""
    ) -> None:
        super().__init__(what, remedy=remedy, detail=detail)
        self.prompt_id = prompt_id


class ExecutionError(JobProblem):
    """A node raised while the graph ran.

    Attributes:
        node_id, node_type: the node that raised.
        exception_type, exception_message: what it raised, in the server's words.
        detail: the server's traceback.
    """

    remedy = "Correct the input of that node; the server's traceback is in the detail."

    def __init__(
        self,
        *,
        prompt_id: str,
        node_id: str,
        node_type: str,
        exception_type: str,
        exception_message: str,
        traceback: str = "",
    ) -> None:
        message = exception_message.strip() or "no message"
        super().__init__(
            f"Job {prompt_id} failed in node {node_id} ({node_type}): {exception_type}: {message}"
            + ("" if message.endswith((".", "!", "?")) else "."),
            prompt_id=prompt_id,
            detail=traceback,
        )
        self.node_id = node_id
        self.node_type = node_type
        self.exception_type = exception_type
        self.exception_message = exception_message


class OutOfMemory(ExecutionError):
    """A node ran out of GPU or host memory. ComfyUI often stays unwell afterwards."""

    remedy = (
        "Ask for a smaller size or fewer frames, or take an instance type with more GPU memory; "
        "restart ComfyUI first, its memory stays fragmented after this."
    )


class NoOutput(JobProblem):
    """The job ended with success, but no node reported a video."""

    remedy = (
        "Check that the graph ends in a node that saves a video (VHS_VideoCombine with "
        "save_output, or SaveVideo)."
    )


class CachedResult(JobProblem):
    """The job ended with success without running the node that makes the video.

    ComfyUI answers an identical graph with the file of an earlier run, which proves nothing
    about the service as it is now.
    """

    remedy = "Submit with another seed or another filename prefix."


class Interrupted(JobProblem):
    """Somebody stopped the job while it ran."""

    remedy = "Ask who else uses this service; submit again."


class Deleted(JobProblem):
    """The server did not restart, yet it does not know the job any more: somebody removed it."""

    remedy = (
        "Ask who else uses this service (POST /queue and POST /history delete other callers' jobs, "
        "too), then submit again."
    )


class LostByRestart(JobProblem):
    """Neither queued nor in the history: queue and history live in ComfyUI's memory only."""

    remedy = (
        "Look for a restart of ComfyUI at that time (its log, out of memory, a new image), "
        "or for somebody who cleared the queue; submit again."
    )


class Stalled(JobProblem):
    """The job is running, but nothing has moved for a long time."""

    remedy = "Look at the GPU and at ComfyUI's log; a hung kernel needs a restart of the service."
