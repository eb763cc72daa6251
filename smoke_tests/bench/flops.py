"""Matrix work of a video, counted from the model's shape. Pure: numbers in, numbers out.

A *multiply-add* is one multiplication and one addition, so two floating point operations (FLOP).
Counted are the products of matrices and the convolutions that are computed as such, and nothing
else: norms, softmax, rotary embedding and GELU are not matrix work, are under 1 % of it, and run
on other units of the GPU than the peak that they would be compared with.

Shape of Wan2.1-VACE-1.3B: `images/weights/vace_weights/architecture.py`, which has every tensor (a
test holds the two against each other); strides of the VAE and patch size: `config.json` beside the
published weights, and `WanVaceToVideo` of ComfyUI. The text encoder's shape is that of UMT5-XXL's
`config.json`; the decoder's is that of `wan/modules/vae.py` (dim 96, multipliers 1, 2, 4, 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

VAE_PIXELS = 8
VAE_FRAMES = 4
PATCH = 2  # height and width; one latent frame deep
LATENT_CHANNELS = 16
VACE_CHANNELS = 96  # 2 x 16 of the latents, 64 of the mask
FREQUENCIES = 256  # inputs of the time embedding


@dataclass(frozen=True)
class Shape:
    """Dimensions of a Wan VACE diffusion model; the defaults are those of the 1.3B model."""

    dim: int = 1536
    ffn_dim: int = 8960
    layers: int = 30
    vace_layers: int = 15
    text_tokens: int = 512
    text_dim: int = 4096

    @property
    def blocks(self) -> int:
        """Blocks that a forward pass goes through: the model's own and those of VACE."""
        return self.layers + self.vace_layers


@dataclass(frozen=True)
class Job:
    """What a video asks of the sampler.

    Attributes:
        width, height: pixels, multiples of 16.
        frames: 4n+1.
        steps: of the sampler. Those that ask the model twice in a step (heun, dpm_2) count double.
        cfg: guidance; at 1 ComfyUI leaves the negative prompt out, which halves the work.
        reference: whether a reference picture is given, which adds one latent frame.
    """

    width: int
    height: int
    frames: int
    steps: int
    cfg: float
    reference: bool = False

    def __post_init__(self) -> None:
        problems = []
        if min(self.width, self.height) < 16 or self.width % 16 or self.height % 16:
            problems.append("width and height are multiples of 16")
        if self.frames < 1 or self.frames % VAE_FRAMES != 1:
            problems.append("frames is 4n+1")
        if self.steps < 1:
            problems.append("steps is at least 1")
        if problems:
            raise ValueError(
                f"a video of {self.width}x{self.height}, {self.frames} frames and {self.steps} "
                f"steps was given; {'; '.join(problems)}. The model knows no other sizes, so there "
                "is no work to count. Choose the nearest allowed values"
            )

    @property
    def latent_frames(self) -> int:
        """Frames after the VAE, the one of a reference picture among them."""
        return (self.frames - 1) // VAE_FRAMES + 1 + self.reference

    @property
    def tokens(self) -> int:
        """Length of the sequence that the model attends over."""
        side = VAE_PIXELS * PATCH
        return self.latent_frames * (self.width // side) * (self.height // side)

    @property
    def passes(self) -> int:
        """Forward passes through the model, counted for one video of the batch each."""
        return self.steps * (1 if self.cfg == 1 else 2)


#: 480x480, 49 frames, 20 steps, cfg 4 and no reference picture wired: the seed's graph.
REFERENCE = Job(width=480, height=480, frames=49, steps=20, cfg=4)


def forward(tokens: int, shape: Shape | None = None) -> dict[str, int]:
    """Multiply-adds of one forward pass over ``tokens`` tokens, by part.

    ``blocks.normalised`` are the layers whose input is normalised (q, k, v of the self-attention, q
    of the cross-attention, the first feed-forward layer): those that the FP8 weights of this
    project also multiply in FP8. ``blocks.other`` are the other linear layers, ``blocks.attention``
    is q·k and the weighted sum, over the tokens and over the text.
    """
    model = shape or Shape()
    square, blocks, text = model.dim**2, model.blocks, model.text_tokens
    patch = model.dim * PATCH**2
    return {
        "blocks.normalised": blocks * tokens * (4 * square + model.dim * model.ffn_dim),
        "blocks.other": blocks
        * (tokens * (2 * square + model.dim * model.ffn_dim) + 2 * text * square),
        "blocks.attention": blocks * 2 * tokens * (tokens + text) * model.dim,
        # before_proj once, after_proj behind each VACE block
        "vace_projections": (model.vace_layers + 1) * tokens * square,
        "embeddings": tokens * patch * (LATENT_CHANNELS + VACE_CHANNELS)
        + text * model.dim * (model.text_dim + model.dim)
        + model.dim * (FREQUENCIES + model.dim + 6 * model.dim),
        "head": tokens * patch * LATENT_CHANNELS,
    }


def sampling(job: Job, shape: Shape | None = None) -> dict[str, int]:
    """FLOP of a whole sampling, by the parts of `forward`."""
    parts = forward(job.tokens, shape)
    return {name: 2 * count * job.passes for name, count in parts.items()}


def total(parts: Mapping[str, int]) -> int:
    """Sum of all parts."""
    return sum(parts.values())


def transformer(parts: Mapping[str, int]) -> int:
    """Work of the 45 blocks with the embeddings before them and without VACE's projections.

    For the reference workflow this is 3.35 PFLOP, the figure that the project's aims name; with
    projections and head, the whole model does 3.38.
    """
    return sum(count for name, count in parts.items() if name not in ("vace_projections", "head"))


# --- beside the sampling, once a video; named apart, and not part of the figures above ---

_UMT5 = {"dim": 4096, "ffn": 10240, "layers": 24, "tokens": 512}


def text_encoder(prompts: int = 2) -> int:
    """FLOP of UMT5-XXL's encoder for prompts of 512 tokens; its feed-forward is gated (3 layers).

    ComfyUI keeps the result while a prompt stays the same, so most videos of a series do without.
    """
    dim, ffn, tokens = _UMT5["dim"], _UMT5["ffn"], _UMT5["tokens"]
    layer = tokens * (4 * dim**2 + 3 * dim * ffn) + 2 * tokens**2 * dim
    return 2 * prompts * _UMT5["layers"] * layer


def _residual(channels_in: int, channels_out: int) -> int:
    """Multiply-adds for a position of a residual block: two 3x3x3 convolutions, one 1x1x1."""
    shortcut = channels_in * channels_out if channels_in != channels_out else 0
    return 27 * channels_out * (channels_in + channels_out) + shortcut


def vae_decode(job: Job) -> int:
    """FLOP of decoding the video, without the frame of a reference picture (it is trimmed).

    The first latent frame becomes one frame, every other one four: so that the two stages that
    double the rate work on 2n+1 and 4n+1 frames for n+1 latent ones.
    """
    latent = (job.frames - 1) // VAE_FRAMES + 1
    area = (job.width // VAE_PIXELS) * (job.height // VAE_PIXELS)
    rates = (latent, 2 * latent - 1, 4 * latent - 3, 4 * latent - 3)
    # by stage: channels in, channels out; three residual blocks, then upsampling but for the last
    stages = ((384, 384), (192, 384), (192, 192), (96, 96))
    middle = latent * area * (
        27 * LATENT_CHANNELS * 384 + LATENT_CHANNELS**2 + 2 * _residual(384, 384) + 4 * 384**2
    ) + 2 * latent * area**2 * 384  # fmt: skip
    count = middle
    for stage, (first, width) in enumerate(stages):
        positions = rates[stage] * area * 4**stage
        count += positions * (_residual(first, width) + 2 * _residual(width, width))
        if stage < 2:  # a convolution over time makes two frames of one
            count += rates[stage] * area * 4**stage * 3 * width * 2 * width
        if stage < 3:  # twice the size, then a 3x3 convolution to half the channels
            count += rates[stage + 1] * area * 4 ** (stage + 1) * 9 * width * (width // 2)
    count += rates[3] * area * 64 * 27 * 96 * 3
    return 2 * count
