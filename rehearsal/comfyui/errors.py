"""Errors while a graph runs.

The tree::

    NodeError                 a node fails; clients see the class name and message of a real server
    ├── OutOfMemory           reported as torch.OutOfMemoryError
    ├── UnreadableImage       reported as PIL.UnidentifiedImageError
    └── NotSimulated          the class exists in ComfyUI, but has no behaviour here
    Interrupted               POST /interrupt; not a failure of a node
    Abandoned                 the prompt is forgotten, as by a restart; nobody hears of it
"""

from __future__ import annotations


class NodeError(Exception):
    """A node fails.

    Args:
        message: as the real node words it.
        wire_name: ``exception_type`` that clients see.
        tips: what ComfyUI adds on the line below the message.
    """

    def __init__(self, message: str, *, wire_name: str = "RuntimeError", tips: str = "") -> None:
        super().__init__(message)
        self.wire_name = wire_name
        self.tips = tips


class OutOfMemory(NodeError):  # noqa: N818 - named after what it stands for
    """The GPU has too little memory, in the words of PyTorch."""

    def __init__(self) -> None:
        super().__init__(
            "CUDA out of memory. Tried to allocate 1.26 GiB. GPU 0 has a total capacity of "
            "21.96 GiB of which 412.12 MiB is free.",
            wire_name="torch.OutOfMemoryError",
            tips="This error means you ran out of memory on your GPU.\n\nTIPS: If the workflow "
            "worked before you might have accidentally set the batch_size to a large number.",
        )


class UnreadableImage(NodeError):  # noqa: N818
    """A file that is no picture."""

    def __init__(self, path: object) -> None:
        super().__init__(
            f"cannot identify image file '{path}'", wire_name="PIL.UnidentifiedImageError"
        )


class NotSimulated(NodeError):  # noqa: N818
    """A node class without a behaviour in the simulation."""

    def __init__(self, class_type: str, known: str) -> None:
        super().__init__(
            f"The simulated ComfyUI lists the node class {class_type!r}, but cannot run it: it has "
            f"no behaviour here. It can run: {known}. Use one of those, or a real ComfyUI.",
            wire_name="NotImplementedError",
        )


class Interrupted(Exception):  # noqa: N818
    """The running prompt was interrupted."""


class Abandoned(Exception):  # noqa: N818
    """The running prompt was forgotten, as by a restart of the process."""
