"""Workflows that make a video from text or a picture."""

from __future__ import annotations

from fractions import Fraction

from smoke_tests.workflows.recipe import Prompt, Recipe
from smoke_tests.workflows.wording import NEGATIVE, PROMPT_NOTE, SILENT_NOTE

# The texts of the reference graph are part of it, word for word.
REFERENCE_NEGATIVE = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，"
    "低质量，JPEG压缩残留，丑陋的，残缺的"
)

REFERENCE = Recipe(
    name="reference",
    title={"en": "Reference workflow", "zh": "参考工作流"},
    summary={
        "en": "Text to video, 480x480. The uploaded picture only reaches a preview.",
        "zh": "文字生成 480x480 视频。上传的图片只用于预览。",
    },
    inputs=("image",),
    kept="nothing",
    audio=False,
    fit="crop",
    width=480,
    height=480,
    frames=49,
    fps=Fraction(16),
    prompts={
        "zh": Prompt("女孩偷偷咬一口苹果", REFERENCE_NEGATIVE),
        "en": Prompt("A girl secretly takes a bite of an apple", NEGATIVE["en"]),
    },
    steps=20,
    cfg=4,
    notes={
        "en": (
            "The service's first workflow, unchanged: existing callers send exactly this graph.",
            "**Picture**: it is cropped to 480x480 and shown, no more. Use *Picture to video* to "
            "let it shape the result.",
            "**Metadata**: this one file carries its whole graph inside (`save_metadata`).",
            SILENT_NOTE["en"],
        ),
        "zh": (
            "本服务最初的工作流，保持不变：现有调用方发送的就是这个工作流。",
            "**图片**：仅裁剪为 480x480 并预览。要让图片参与生成，请用“图片生成视频”。",
            "**元数据**：此文件内含完整工作流（`save_metadata`）。",
            SILENT_NOTE["zh"],
        ),
    },
)

TEXT_TO_VIDEO = Recipe(
    name="text_to_video",
    title={"en": "Text to video", "zh": "文字生成视频"},
    summary={
        "en": "A video from the prompt alone.",
        "zh": "仅凭提示词生成视频。",
    },
    inputs=(),
    kept="nothing",
    audio=False,
    fit=None,
    width=832,
    height=480,
    frames=81,
    fps=Fraction(16),
    prompts={
        "en": Prompt(
            "A red fox trots through a birch forest after the first snow, its breath visible in "
            "the cold air, low golden morning sun between the trunks, powder snow whirling up "
            "behind its paws; documentary style, the camera follows at its height",
            NEGATIVE["en"],
        ),
        "zh": Prompt(
            "初雪后的白桦林里，一只红狐狸小跑而过，冷空气中能看到它呼出的白气，"
            "清晨金色的阳光从树干间"
            "斜射进来，脚后扬起细碎的雪粉。纪录片风格，镜头与狐狸同高，跟随移动。",
            NEGATIVE["zh"],
        ),
    },
    steps=20,
    cfg=4,
    notes={
        "en": (
            "Makes 5 seconds of video from the prompt.",
            PROMPT_NOTE["en"],
            "**Change**: prompt, seed, width and height (multiples of 16), frames (4n+1; other "
            "numbers are rounded down to it).",
            SILENT_NOTE["en"],
        ),
        "zh": (
            "根据提示词生成 5 秒视频。",
            PROMPT_NOTE["zh"],
            "**可调**：提示词、种子、宽和高（16 的倍数）、帧数（4n+1，其他数值向下取整）。",
            SILENT_NOTE["zh"],
        ),
    },
)

PICTURE_TO_VIDEO = Recipe(
    name="picture_to_video",
    title={"en": "Picture to video", "zh": "图片生成视频"},
    summary={
        "en": "A video in which the subject of a picture appears.",
        "zh": "让图片中的主体出现在视频里。",
    },
    inputs=("image",),
    kept="nothing",
    audio=False,
    fit="pad",
    width=832,
    height=480,
    frames=81,
    fps=Fraction(16),
    prompts={
        "en": Prompt(
            "The subject of the picture in the open air on a clear day, moving calmly and "
            "naturally, a light breeze, soft sunlight; the camera slowly moves closer",
            NEGATIVE["en"],
        ),
        "zh": Prompt(
            "晴朗的户外，图片中的主体自然而平静地活动，微风轻拂，阳光柔和，镜头缓缓推近。",
            NEGATIVE["zh"],
        ),
    },
    steps=20,
    cfg=4,
    reference_frame=True,
    notes={
        "en": (
            "The picture is VACE's reference: its person, animal or thing appears in the video, in "
            "the place and the action of the prompt. It is not the first frame.",
            "**Picture**: scaled whole into the frame and padded with white. One clear subject on "
            "a plain background is followed best.",
            PROMPT_NOTE["en"],
            SILENT_NOTE["en"],
        ),
        "zh": (
            "图片是 VACE 的参考：其中的人、动物或物品会按提示词描述的场景和动作出现在视频里，"
            "但图片并不是"
            "首帧。",
            "**图片**：完整缩放进画面，四周补白。主体单一、背景干净时效果最好。",
            PROMPT_NOTE["zh"],
            SILENT_NOTE["zh"],
        ),
    },
)

MAKERS = (REFERENCE, TEXT_TO_VIDEO, PICTURE_TO_VIDEO)
