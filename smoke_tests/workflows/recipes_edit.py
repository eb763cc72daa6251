"""Workflows that edit a video."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from smoke_tests.workflows.recipe import LANGUAGES, Kept, Language, Prompt, Recipe, Role
from smoke_tests.workflows.wording import (
    LENGTH_NOTE,
    MASK_NOTE,
    NEGATIVE,
    PROMPT_NOTE,
    SHAPE_NOTE,
    SILENT_NOTE,
    SOUND_NOTE,
)


def _edit(
    name: str,
    *,
    title: Mapping[Language, str],
    summary: Mapping[Language, str],
    prompt: Mapping[Language, str],
    about: Mapping[Language, tuple[str, ...]],
    kept: Kept,
    mask: bool = False,
    audio: bool = True,
    length: Mapping[Language, str] = LENGTH_NOTE,
    **more: Any,
) -> Recipe:
    """A recipe with the notes that all edits share; ``about`` comes first."""
    inputs: tuple[Role, ...] = ("video", "mask") if mask else ("video",)
    shared = [PROMPT_NOTE, *([MASK_NOTE] if mask else []), SHAPE_NOTE, length]
    shared.append(SOUND_NOTE if audio else SILENT_NOTE)
    return Recipe(
        name=name,
        title=title,
        summary=summary,
        inputs=inputs,
        kept=kept,
        audio=audio,
        fit="crop",
        width=832,
        height=480,
        frames=81,
        fps=Fraction(16),
        prompts={one: Prompt(prompt[one], NEGATIVE[one]) for one in LANGUAGES},
        cfg=4,
        notes={one: (*about[one], *(note[one] for note in shared)) for one in LANGUAGES},
        **{"steps": 20, **more},
    )


STYLE = _edit(
    "style",
    title={"en": "Style conversion", "zh": "风格转换"},
    summary={
        "en": "The same scene and movement in another style.",
        "zh": "保留场景与动作，换成另一种画风。",
    },
    prompt={
        "en": "The scene as a hand-painted watercolour animation: soft washes of colour, visible "
        "paper grain, delicate ink outlines, warm afternoon light",
        "zh": "手绘水彩动画风格的画面：柔和的晕染色块，可见的纸张纹理，细腻的墨线轮廓，"
        "温暖的午后光线。",
    },
    about={
        "en": (
            "The lines of the source lead the model: shapes and movement stay, colours and "
            "textures come from the prompt. Say in the prompt what the scene shows as well.",
            "**Change**: `strength` of VACE (lower follows the lines less), the thresholds of "
            "*Edges* (lower finds more lines).",
        ),
        "zh": (
            "以源视频的线条引导模型：形状和动作不变，颜色与质感由提示词决定。"
            "提示词里也要写明画面内容。",
            "**可调**：VACE 的 `strength`（越低越不受线条约束），“边缘”的阈值（越低线条越多）。",
        ),
    },
    kept="structure",
)

COLOUR = _edit(
    "colour",
    title={"en": "Colour change", "zh": "色彩调整"},
    summary={
        "en": "New colours and mood, every shade of light and dark kept.",
        "zh": "改变色彩与氛围，保留明暗层次。",
    },
    prompt={
        "en": "The scene at golden hour: saturated warm orange light, deep teal shadows, rich "
        "cinematic colours",
        "zh": "黄金时刻的画面：饱和的暖橙色光线，深青色阴影，浓郁的电影感色彩。",
    },
    about={
        "en": (
            "The model colours the grey levels of the source: tone and saturation are new, "
            "brightness stays in place. Name the colours of the things that matter.",
            "For a change of brightness say so in the prompt and set `strength` to about 0.7. "
            "For an exact correction (a curve, a white balance) an editor is the better tool.",
        ),
        "zh": (
            "模型为源视频的灰度画面重新上色：色调和饱和度是新的，明暗分布不变。"
            "请写明重要物体的颜色。",
            "要改变亮度，请写进提示词并把 `strength` 设为约 0.7。若需精确校色（曲线、"
            "白平衡），剪辑软件更合适。",
        ),
    },
    kept="structure",
)

BACKGROUND = _edit(
    "background",
    title={"en": "Background change", "zh": "更换背景"},
    summary={
        "en": "Another scene around the subject, or new elements in it.",
        "zh": "保留主体，更换背景或添加元素。",
    },
    prompt={
        "en": "Behind the subject a wide beach at sunset: gentle waves, wet sand that mirrors the "
        "sky, a few palm trees in the distance, light from the same side",
        "zh": "主体身后是日落时分的宽阔海滩：轻柔的海浪，湿沙映出天光，远处有几棵棕榈树，"
        "光线方向一致。",
    },
    about={
        "en": (
            "The white part of the mask becomes a new scene, the subject under the black part "
            "stays. Suits a subject that stays in its place and a camera that stands still.",
            "To add an element, paint only its place white and describe it.",
        ),
        "zh": (
            "遮罩白色部分变成新场景，黑色部分的主体保留。适合主体位置基本不变、机位固定的视频。",
            "要添加元素，只把它的位置涂白，并描述该元素。",
        ),
    },
    kept="outside_mask",
    mask=True,
)

OBJECT = _edit(
    "object",
    title={"en": "Object replacement", "zh": "物体替换"},
    summary={
        "en": "Another thing in the place of one thing, the rest kept.",
        "zh": "替换画面中的一个物体，其余保留。",
    },
    prompt={
        "en": "In the same place a round basket full of ripe oranges, lit like the rest of the "
        "scene, casting a natural shadow",
        "zh": "同一位置放着一只装满熟橙子的圆篮，光照与画面其余部分一致，投下自然的影子。",
    },
    about={
        "en": (
            "What the mask covers is removed and painted anew from the prompt. Cover the shadow "
            "and the mirror image of the old thing too. To remove a thing, describe the empty "
            "place.",
        ),
        "zh": (
            "遮罩覆盖的内容会被去除，并按提示词重画。旧物体的影子和倒影也要盖住。若要移除物体，"
            "请描述空出来"
            "的地方。",
        ),
    },
    kept="outside_mask",
    mask=True,
)

EFFECT = _edit(
    "effect",
    title={"en": "Effect", "zh": "特效"},
    summary={
        "en": "Snow, rain, fire, fog or light over the whole scene.",
        "zh": "为整个画面添加雪、雨、火、雾或光效。",
    },
    prompt={
        "en": "The scene in heavy snowfall: thick flakes drift through the picture, fresh snow "
        "lies on every surface, cold blue winter light",
        "zh": "大雪纷飞的画面：厚厚的雪花飘过画面，所有表面都积着新雪，清冷的蓝色冬日光线。",
    },
    about={
        "en": (
            "Starts from the source itself and draws 70 % of the way anew, led by its grey levels "
            "at half weight: the scene stays recognisable, the effect lies over it. Describe the "
            "scene together with the effect. The effect differs from seed to seed.",
            "**Change**: `denoise` of the sampler (0.5 hint of an effect, 0.85 nearly a new "
            "picture).",
        ),
        "zh": (
            "从源视频本身出发，重绘七成，并以一半权重的灰度画面引导：场景仍可辨认，特效覆盖其上。"
            "请把场景和"
            "特效一起描述。不同种子的特效各不相同。",
            "**可调**：采样器的 `denoise`（0.5 略有特效，0.85 几乎是新画面）。",
        ),
    },
    kept="structure",
    denoise=0.7,
)

ENHANCE = _edit(
    "enhance",
    title={"en": "Quality enhancement", "zh": "画质增强"},
    summary={
        "en": "A small, soft or blocky clip redrawn sharp at 480P.",
        "zh": "把模糊、低清或有压缩块的片段重绘为清晰的 480P。",
    },
    prompt={
        "en": "A sharp, clean, finely detailed recording of the scene, crisp edges, natural "
        "texture, no noise, no compression artefacts",
        "zh": "清晰、干净、细节丰富的实拍画面，边缘锐利，质感自然，没有噪点和压缩痕迹。",
    },
    about={
        "en": (
            "Draws the last 35 % anew: noise and blocks go, edges and textures become crisp. "
            "Detail that the source does not hold is invented, not recovered: do not use it to "
            "read a number plate or to recognise a face. The result is 480P, never more.",
            "**Change**: `denoise` of the sampler (0.25 careful, 0.5 strong, faces may change). "
            "Describe what the clip shows.",
        ),
        "zh": (
            "只重绘最后的 35%：噪点和压缩块消失，边缘与纹理变清晰。源视频里没有的细节是生成的，"
            "并非还原，"
            "请勿用来辨认车牌或人脸。成片为 480P，不会更高。",
            "**可调**：采样器的 `denoise`（0.25 保守，0.5 明显，人脸可能改变）。请描述画面内容。",
        ),
    },
    kept="structure",
    denoise=0.35,
    # every step counts here: all of them lie in the last third of the noise schedule
    steps=12,
)

FIRST_FRAMES = 33

EXTEND = _edit(
    "extend",
    title={"en": "Clip extension", "zh": "视频延长"},
    summary={
        "en": "The first 2 seconds are given, 3 more follow.",
        "zh": "给定前 2 秒，续写后 3 秒。",
    },
    prompt={
        "en": "The scene goes on in one take: the same place, the same light, the movement "
        "continues calmly and naturally",
        "zh": "同一镜头继续：地点与光线不变，动作平稳自然地延续下去。",
    },
    about={
        "en": (
            "Keeps the first 33 frames of the source and paints the following 48. To go on from "
            "the end of a clip, set `skip_first_frames` to its length at 16 frames a second less "
            "33; then join both in an editor.",
            "**Change**: `frame_load_cap` (given frames, 4n+1) and *Frames* (all frames, 4n+1).",
        ),
        "zh": (
            "保留源视频前 33 帧，续画后 48 帧。要从片段结尾续写，"
            "请把 `skip_first_frames` 设为该片段按每秒"
            " 16 帧计的总帧数减 33，再用剪辑软件拼接。",
            "**可调**：`frame_load_cap`（给定帧数，4n+1）和“帧数”（总帧数，4n+1）。",
        ),
    },
    kept="first_frames",
    first_frames=FIRST_FRAMES,
    audio=False,
    length={
        "en": "**Length**: always 81 frames (5 s). A source shorter than 33 frames is kept whole, "
        "and more is painted.",
        "zh": "**长度**：总是 81 帧（5 秒）。源视频不足 33 帧时全部保留，续画相应更多。",
    },
)

OUTPAINT = _edit(
    "outpaint",
    title={"en": "Outpainting", "zh": "画面扩展"},
    summary={
        "en": "The view widened on all four sides.",
        "zh": "向四周扩展画面。",
    },
    prompt={
        "en": "A wider view of the same scene: the surroundings continue on all sides in the same "
        "light, perspective and style, without any frame or border",
        "zh": "同一场景的更宽视野：四周环境以相同的光线、透视和风格自然延续，没有边框。",
    },
    about={
        "en": (
            "The source fills the inner 624x360 of the frame, a quarter less each way; the model "
            "paints what lies around it. Describe the surroundings too.",
            "**Change**: `scale_by` of *Smaller* (0.75). To widen a portrait clip instead, unlink "
            "the width of *Crop to shape*, set it to 272, and set `scale_by` to 1.",
        ),
        "zh": (
            "源视频占画面中央 624x360（宽高各缩小四分之一），四周由模型补画。"
            "提示词里也要描述四周环境。",
            "**可调**：“缩小”的 `scale_by`（0.75）。要把竖屏扩成横屏，"
            "请断开“裁剪至画幅比例”的宽度连线，"
            "设为 272，并把 `scale_by` 设为 1。",
        ),
    },
    kept="inside_frame",
    inner=(104, 60, 728, 420),
)

EDITS = (STYLE, COLOUR, BACKGROUND, OBJECT, EFFECT, ENHANCE, EXTEND, OUTPAINT)
