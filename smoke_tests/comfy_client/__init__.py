"""A client for ComfyUI's HTTP and WebSocket API that says what went wrong and what to do.

>>> from smoke_tests.comfy_client import ComfyClient, Deadline, Target, Workflow
>>> workflow = Workflow.load(path).with_inputs(prompt="a fox in the snow", seed=7)
>>> with ComfyClient(Target.of("https://host", token_file=token)) as client:
...     result = client.run(workflow.graph, Deadline(900), on_progress=print)
...     client.download(result.videos[0], Path("fox.mp4"))

Layers, inner ones without I/O: `protocol` (what answers mean), `progress` (events to percent),
`workflow` (inputs by name), then `transport` (HTTP), `events` (WebSocket), `follow`, `client`.
All errors are in `errors`, drawn as a tree there.
"""

from smoke_tests.comfy_client.answers import Download, UploadedFile
from smoke_tests.comfy_client.async_client import AsyncComfyClient
from smoke_tests.comfy_client.client import ComfyClient
from smoke_tests.comfy_client.deadline import Deadline
from smoke_tests.comfy_client.errors import (
    BadTarget,
    CachedResult,
    ComfyError,
    ConnectionProblem,
    Deleted,
    ExecutionError,
    Interrupted,
    JobProblem,
    LostByRestart,
    NoOutput,
    NotComfyUI,
    NotReady,
    OutOfMemory,
    PartlyRejected,
    QueueFull,
    RejectedGraph,
    Stalled,
    SubmitProblem,
    Timeout,
    TruncatedDownload,
    UnexpectedAnswer,
    Unreachable,
    WorkflowError,
    WrongCertificate,
    WrongToken,
)
from smoke_tests.comfy_client.progress import Progress
from smoke_tests.comfy_client.protocol import Answer, JobResult, OutputFile
from smoke_tests.comfy_client.rejection import choices
from smoke_tests.comfy_client.target import TOKEN_VARIABLE, Target, is_loopback
from smoke_tests.comfy_client.workflow import Workflow

__all__ = [
    "TOKEN_VARIABLE",
    "Answer",
    "AsyncComfyClient",
    "BadTarget",
    "CachedResult",
    "ComfyClient",
    "ComfyError",
    "ConnectionProblem",
    "Deadline",
    "Deleted",
    "Download",
    "ExecutionError",
    "Interrupted",
    "JobProblem",
    "JobResult",
    "LostByRestart",
    "NoOutput",
    "NotComfyUI",
    "NotReady",
    "OutOfMemory",
    "OutputFile",
    "PartlyRejected",
    "Progress",
    "QueueFull",
    "RejectedGraph",
    "Stalled",
    "SubmitProblem",
    "Target",
    "Timeout",
    "TruncatedDownload",
    "UnexpectedAnswer",
    "Unreachable",
    "UploadedFile",
    "Workflow",
    "WorkflowError",
    "WrongCertificate",
    "WrongToken",
    "choices",
    "is_loopback",
]
