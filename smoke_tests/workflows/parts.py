"""Parts that the workflows share: models, texts, sizes, source, sampling and saving."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from smoke_tests.workflows.graph import Graph, Node, Out
from smoke_tests.workflows.recipe import Recipe

MODELS = "Models · 模型"
TEXTS = "Prompts · 提示词"
INPUTS = "Inputs · 输入"
SIZE = "Size and rate · 尺寸与帧率"
PREPARE = "Prepare · 预处理"
VACE = "VACE"
RESULT = "Sample and save · 采样与保存"

#: The grey that VACE was trained to read as "nothing here, paint it": 127.5 of 255.
GREY = 0x808080
GREY_TEXT = "128, 128, 128"

Resize = dict[str, Any]


@dataclass
class Frame:
    """What every workflow but the reference starts from.

    Attributes:
        width, height, fps: the three numbers that several nodes share.
    """

    graph: Graph
    recipe: Recipe
    model: Out
    vae: Out
    positive: Out
    negative: Out
    width: Out
    height: Out
    fps: Out

    def resized(self, image: Out, title: str, **changes: Any) -> Out:
        """The image in the size of the result, undistorted: cropped unless told otherwise.

        On the CPU, since ImageResizeKJv2 refuses Lanczos on the GPU, where it would also compete
        with the model for memory. Lanczos keeps edges; a mask takes nearest-exact to stay hard.
        """
        values = {
            "upscale_method": "lanczos",
            "keep_proportion": "crop",
            "pad_color": "0, 0, 0",
            "crop_position": "center",
            "divisible_by": 16,  # two by the model's patches, eight by the VAE
            "device": "cpu",
            **changes,
        }
        node = self.graph.add(
            "ImageResizeKJv2",
            title,
            group=PREPARE,
            image=image,
            width=self.width,
            height=self.height,
            **values,
        )
        return node["IMAGE"]

    def source(self, frames: int = 0) -> Node:
        """The source video at the result's rate, at most ``frames`` of it (the recipe's unless
        given). The frames of a variable-frame-rate file count as evenly spaced at its mean rate:
        the length stays true, movement inside of it may be uneven.
        """
        return self.graph.add(
            "VHS_LoadVideo",
            "Source video · 源视频",
            group=INPUTS,
            video="source.mp4",
            force_rate=self.fps,
            custom_width=0,
            custom_height=0,
            frame_load_cap=frames or self.recipe.frames,
            skip_first_frames=0,
            select_every_nth=1,
            format="None",
        )

    def picture(self, name: str, title: str) -> Node:
        """A picture from the input folder."""
        return self.graph.add("LoadImage", title, group=INPUTS, image=name)

    def repeated_mask(self, picture: Out, count: Out) -> Out:
        """One mask picture for all frames, as hard as it was drawn.

        Repeated, because WanVaceToVideo takes frames beyond the last mask as "paint all"; and as
        often as the source has frames, so that what lies beyond the source is still painted.
        """
        resized = self.resized(picture, "Mask to size · 遮罩缩放", upscale_method="nearest-exact")
        return self.one_mask_for_all(resized, count)

    def one_mask_for_all(self, picture: Out, count: Out) -> Out:
        """A mask for each of ``count`` frames, from the red of one picture."""
        add = self.graph.add
        repeated = add(
            "RepeatImageBatch",
            "One mask a frame · 每帧一张遮罩",
            group=PREPARE,
            image=picture,
            amount=count,
        )
        return add(
            "ImageToMask",
            "Mask: white is painted · 白色处重绘",
            group=PREPARE,
            image=repeated[0],
            channel="red",
        )[0]

    def grey_levels(self, image: Out) -> Out:
        """Brightness alone: the control VACE learnt to colour."""
        node = self.graph.add("ImageRGBToYUV", "Grey levels · 灰度", group=PREPARE, image=image)
        return node["Y"]

    def finish(
        self,
        *,
        length: Out | int,
        audio: Out | None = None,
        latent: Out | None = None,
        strength: float = 1.0,
        **control: Any,
    ) -> None:
        """VACE, sampling, decoding and the file.

        Args:
            length: frames; 4n+1, other numbers are rounded down to it.
            audio: sound for the file; VideoHelperSuite writes a silent file if there is none.
            latent: start from this instead of noise alone (with the recipe's denoise).
            control: control_video, control_masks, reference_image.
        """
        add, recipe = self.graph.add, self.recipe
        vace = add(
            "WanVaceToVideo",
            "VACE",
            group=VACE,
            width=self.width,
            height=self.height,
            length=length,
            batch_size=1,
            strength=strength,
            positive=self.positive,
            negative=self.negative,
            vae=self.vae,
            **control,
        )
        sampled = add(
            "KSampler",
            "Sample · 采样",
            group=RESULT,
            seed=1,
            steps=recipe.steps,
            cfg=recipe.cfg,
            # as in the reference workflow: converges in few steps for flow models like Wan
            sampler_name="uni_pc",
            scheduler="simple",
            denoise=recipe.denoise,
            model=self.model,
            positive=vace["positive"],
            negative=vace["negative"],
            latent_image=latent or vace["latent"],
        )
        # the reference picture is sampled as an extra latent frame in front
        trimmed = add(
            "TrimVideoLatent",
            "Drop the reference frame · 去掉参考帧",
            group=RESULT,
            trim_amount=vace["trim_latent"],
            samples=sampled[0],
        )
        decoded = add("VAEDecode", "Decode · 解码", group=RESULT, samples=trimmed[0], vae=self.vae)
        sound: dict[str, Any] = {} if audio is None else {"audio": audio}
        add(
            "VHS_VideoCombine",
            "Save video · 保存视频",
            group=RESULT,
            frame_rate=self.fps,
            loop_count=0,
            filename_prefix=f"VACE_{recipe.name}",
            format="video/h264-mp4",
            pix_fmt="yuv420p",
            crf=19,
            # the file would carry the whole graph, prompt and file names included
            save_metadata=False,
            trim_to_audio=False,
            pingpong=False,
            save_output=True,
            images=decoded[0],
            **sound,
        )


def frame(recipe: Recipe) -> Frame:
    """Models, texts and sizes of a workflow.

    The model and its shift are the reference's: fp8 weights under the same name, shift 8, which
    spends more of the steps on large shapes, as short low-resolution videos need.
    """
    graph = Graph()
    add = graph.add
    unet = add(
        "UNETLoader",
        "Wan2.1-VACE-1.3B",
        group=MODELS,
        unet_name="wan21_vace_1_3_b.safetensors",
        weight_dtype="fp8_e4m3fn_fast",
    )
    clip = add(
        "CLIPLoader",
        "Text encoder · 文本编码器",
        group=MODELS,
        clip_name="umt5_xxl_fp8_e4m3fn.safetensors",
        type="wan",
        device="default",
    )
    vae = add("VAELoader", "VAE", group=MODELS, vae_name="wan21_vace_vae.safetensors")
    model = add("ModelSamplingSD3", "Shift", group=MODELS, model=unet[0], shift=8.0)
    texts = recipe.prompts["en"]
    positive = add(
        "CLIPTextEncode",
        "Prompt: the result · 提示词：画面",
        group=TEXTS,
        text=texts.positive,
        clip=clip[0],
    )
    negative = add(
        "CLIPTextEncode",
        "Negative prompt · 反向提示词",
        group=TEXTS,
        text=texts.negative,
        clip=clip[0],
    )
    width = add("INTConstant", "Width · 宽", group=SIZE, value=recipe.width)
    height = add("INTConstant", "Height · 高", group=SIZE, value=recipe.height)
    fps = add("FloatConstant", "Frames a second · 帧率", group=SIZE, value=float(recipe.fps))
    return Frame(
        graph, recipe, model[0], vae[0], positive[0], negative[0], width[0], height[0], fps[0]
    )
