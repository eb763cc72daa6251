"""What travels along the links of a graph.

ComfyUI moves float tensors; here pictures are 8-bit arrays, which is what files hold anyway, and
models are names. ``str()`` of a value is what clients see in ``current_inputs`` of an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Samples = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Images:
    """Type IMAGE: RGB pictures, shape (frames, height, width, 3)."""

    pixels: Pixels

    @property
    def count(self) -> int:
        """Number of frames."""
        return int(self.pixels.shape[0])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.pixels.shape[1])

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.pixels.shape[2])

    def __str__(self) -> str:
        return f"<simulated IMAGE, shape {tuple(self.pixels.shape)}>"


@dataclass(frozen=True, eq=False)
class Masks:
    """Type MASK: shape (frames, height, width); 255 stands for 1.0, where VACE may paint."""

    pixels: Pixels

    def __str__(self) -> str:
        return f"<simulated MASK, shape {tuple(self.pixels.shape)}>"


@dataclass(frozen=True)
class Model:
    """Types MODEL, CLIP and VAE: the name of a file and what was set on it."""

    kind: str
    name: str
    settings: tuple[str, ...] = ()

    def with_setting(self, setting: str) -> Model:
        """The same model with one more thing set, as patching nodes do."""
        return Model(self.kind, self.name, (*self.settings, setting))

    def __str__(self) -> str:
        return f"<simulated {self.kind} {self.name}>"


@dataclass(frozen=True, eq=False)
class Control:
    """What WanVaceToVideo adds to the conditioning.

    Attributes:
        video: control frames in the size of the result, or None.
        masks: 255 where the model may paint, one per frame of the result.
        reference: one picture in the size of the result, or None.
        strength: weight of the control; 1.0 is the node's default.
    """

    video: Images | None
    masks: Masks
    reference: Images | None
    strength: float


@dataclass(frozen=True, eq=False)
class Conditioning:
    """Type CONDITIONING: the text and, after WanVaceToVideo, the control."""

    text: str
    control: Control | None = None

    def __str__(self) -> str:
        return f"<simulated CONDITIONING {self.text[:40]!r}>"


@dataclass(frozen=True, eq=False)
class Latent:
    """Type LATENT of a Wan video: 4 frames and 8 by 8 pixels to one latent place.

    Attributes:
        length: latent frames, reference frames included.
        height: latent height (pixels / 8).
        width: latent width (pixels / 8).
        reference_frames: latent frames at the front that stand for the reference picture.
        sampled: what the sampler decided, None before sampling.
        encoded: pictures that went through VAEEncode, or None.
    """

    length: int
    height: int
    width: int
    reference_frames: int = 0
    sampled: Sampled | None = None
    encoded: Images | None = None

    @property
    def frames(self) -> int:
        """Frames of the decoded video."""
        return max(0, (self.length - 1) * 4 + 1)

    def __str__(self) -> str:
        return f"<simulated LATENT, {self.length} x {self.height} x {self.width}>"


@dataclass(frozen=True, eq=False)
class Sampled:
    """Everything that the pictures depend on.

    Attributes:
        control: what WanVaceToVideo added, or None.
        cfg: guidance scale; at 1 the negative text has no effect.
        sampler: names of sampler and scheduler.
        model: name of the model and what was set on it.
        denoise: share of the steps that ran; below 1 the result stays near ``encoded``.
        encoded: pictures behind the latent that sampling started from, or None.
    """

    positive: str
    negative: str
    seed: int
    steps: int
    control: Control | None
    cfg: float = 4.0
    sampler: str = ""
    model: str = ""
    denoise: float = 1.0
    encoded: Images | None = None


@dataclass(frozen=True, eq=False)
class Audio:
    """Type AUDIO: shape (channels, samples), values from -1 to 1."""

    samples: Samples
    rate: int

    def __str__(self) -> str:
        return f"<simulated AUDIO, {self.samples.shape[0]} channels at {self.rate} Hz>"


@dataclass(frozen=True, eq=False)
class Video:
    """Type VIDEO of ComfyUI's own nodes."""

    images: Images
    rate: Fraction
    audio: Audio | None

    def __str__(self) -> str:
        return f"<simulated VIDEO, {self.images.count} frames>"
