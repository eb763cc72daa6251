"""What a run costs: matrix work and memory, from the model's shape.

Attention grows with the square of the number of latent tokens, everything else in proportion. So
832x480 with 81 frames costs five times the reference's 480x480 with 49, though it has less than
three times the tokens.

Shape of Wan2.1-VACE-1.3B: config.json beside the published weights (dim, ffn_dim, num_layers,
vace_layers, text_len); strides of the VAE (4 frames, 8x8 pixels) and patches (2x2) likewise.
"""

from __future__ import annotations

WIDTH = 1536  # dim
FEED_FORWARD = 8960  # ffn_dim
BLOCKS = 30  # num_layers
VACE_BLOCKS = 15  # vace_layers: 0, 2, ... 28
TEXT_TOKENS = 512  # text_len
PIXELS_PER_TOKEN = 16  # 8 by the VAE times 2 by the patches, each way
FRAMES_PER_LATENT = 4

GIB = 1 << 30


def tokens(width: int, height: int, frames: int, *, reference_frame: bool = False) -> int:
    """Latent tokens of a video; a reference picture adds one latent frame.

    Args:
        width, height: pixels, multiples of 16.
        frames: 4n+1.
    """
    per_frame = (width // PIXELS_PER_TOKEN) * (height // PIXELS_PER_TOKEN)
    return per_frame * ((frames - 1) // FRAMES_PER_LATENT + 1 + reference_frame)


def block_work(count: int) -> float:
    """Floating point operations of one block over ``count`` tokens (a multiply-add is two)."""
    square = WIDTH * WIDTH
    projections = 2 * count * square * (4 + 2)  # q k v o of self-attention, q o of the text's
    text = 2 * TEXT_TOKENS * square * 2  # k and v of the text
    attention = 4 * count * (count + TEXT_TOKENS) * WIDTH  # scores and weighted sum
    return projections + text + attention + 4 * count * WIDTH * FEED_FORWARD


def sampling_work(
    width: int, height: int, frames: int, *, steps: int, cfg: float, reference_frame: bool = False
) -> float:
    """Floating point operations of the matrix products of a whole sampling.

    ComfyUI leaves the negative prompt out at cfg 1, which halves the work. The text encoder and
    the VAE are not counted: they run once, the model runs in every step.
    """
    count = tokens(width, height, frames, reference_frame=reference_frame)
    joints = 2 * count * WIDTH * WIDTH * (VACE_BLOCKS + 1)  # each block's way out, one way in
    once = (BLOCKS + VACE_BLOCKS) * block_work(count) + joints
    return once * steps * (1 if cfg == 1 else 2)


#: 480x480, 49 frames, 20 steps with guidance: about 3.4 PFLOP.
REFERENCE_WORK = sampling_work(480, 480, 49, steps=20, cfg=4)


def memory_gib(width: int, height: int, frames: int, *, reference_frame: bool = False) -> float:
    """Estimate of the peak GPU memory in GiB, with ComfyUI's own unloading between the phases.

    The largest of three phases that follow one another:

    * text: the encoder file is 6.7 GB (fp8), plus half a GiB to work in;
    * sampling: 2.2 GB of weights (fp8), and both guidance branches at once, each with about 20
      arrays of the model's width (residual, norm, q k v, feed-forward) in 16 bit;
    * decoding: the VAE keeps features of the last frames in full size, about 96 channels times
      24 arrays in 16 bit, and all frames come out in 32 bit.

    No run on a card is behind this; it is good for choosing a card, not for filling it.
    """
    count = tokens(width, height, frames, reference_frame=reference_frame)
    text = 6.74e9 + GIB / 2
    sampling = 2.2e9 + 2 * count * 20 * WIDTH * 2
    decoding = 0.5e9 + width * height * (96 * 24 * 2 + frames * 3 * 4)
    return max(text, sampling, decoding) / GIB


def memory_class(gib: float) -> str:
    """Smallest usual card for an estimate, with 1.5 GiB to spare (CUDA context, fragments)."""
    for size in (8, 12, 16, 24, 48, 80):
        if gib + 1.5 <= size:
            return f"{size} GiB"
    return "> 80 GiB"


def cost_class(relative: float) -> str:
    """light, medium or heavy: up to 2, up to 4, and more than 4 reference workflows."""
    return "light" if relative <= 2 else "medium" if relative <= 4 else "heavy"
