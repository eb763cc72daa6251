"""Texts that several workflows share."""

from __future__ import annotations

from smoke_tests.workflows.recipe import Language

#: The model was trained with Chinese captions and its makers' negative prompt is Chinese; the
#: English one says the same.
NEGATIVE: dict[Language, str] = {
    "zh": (
        "色调艳丽，过曝，静态，细节模糊不清，字幕，水印，整体发灰，最差质量，低质量，JPEG压缩残留，"
        "丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，"
        "手指融合，静止不动的画面，杂乱的背景，三条腿，倒着走"
    ),
    "en": (
        "overexposed, static, blurred details, subtitles, watermark, greyish overall, worst "
        "quality, low quality, JPEG artefacts, ugly, incomplete, extra fingers, badly drawn hands, "
        "badly drawn face, deformed, disfigured, malformed limbs, fused fingers, frozen picture, "
        "cluttered background, three legs, walking backwards"
    ),
}

PROMPT_NOTE: dict[Language, str] = {
    "en": (
        "**Prompt**: describe the finished picture (subject, place, light, look), not the command. "
        "Chinese and English both work."
    ),
    "zh": "**提示词**：描述成片画面（主体、场景、光线、风格），不要写成命令。中英文均可。",
}

SHAPE_NOTE: dict[Language, str] = {
    "en": (
        "**Shape**: the result is 832x480 at 16 frames a second. A source of another shape is "
        "scaled and its edges are cropped evenly, never stretched. For portrait set width 480 and "
        "height 832; both must be multiples of 16. MP4, AVI, MOV and phone clips with a variable "
        "frame rate are fine; the frames of the latter are taken as evenly spaced at their mean "
        "rate, so convert them to a constant one first where sound and lips must match."
    ),
    "zh": (
        "**画幅**：成片为 832x480、每秒 16 帧。画幅不同的源视频会等比缩放并均匀裁掉边缘，不会拉伸。"
        "竖屏请把宽设为 480、高设为 832，两者都须是 16 的倍数。MP4、AVI、MOV 以及手机拍摄的可变帧率"
        "视频均可；可变帧率视频按平均帧率均匀取帧，若需音画精确对齐，请先转为固定帧率。"
    ),
}

LENGTH_NOTE: dict[Language, str] = {
    "en": (
        "**Length**: as long as the source, at most 81 frames (5 s, `frame_load_cap`); the count "
        "is rounded down to 4n+1. Take a later part with `skip_first_frames`."
    ),
    "zh": (
        "**长度**：与源视频相同，最多 81 帧（5 秒，即 `frame_load_cap`），帧数向下取为 4n+1。"
        "要取后面的片段，请设置 `skip_first_frames`。"
    ),
}

SOUND_NOTE: dict[Language, str] = {
    "en": (
        "**Sound**: the source's sound of the same seconds is kept (mono or stereo); a source "
        "without sound gives a silent file. With sound the file is named `...-audio.mp4`, and a "
        "silent twin lies beside it."
    ),
    "zh": (
        "**声音**：保留源视频同一时段的声音（单声道或立体声）；源视频没有声音时成片也无声。有声音的文件"
        "名为 `...-audio.mp4`，旁边另有一个无声文件。"
    ),
}

SILENT_NOTE: dict[Language, str] = {
    "en": "**Sound**: none.",
    "zh": "**声音**：无。",
}

MASK_NOTE: dict[Language, str] = {
    "en": (
        "**Mask**: a picture drawn on a frame of the source, in its shape: white may be painted, "
        "black is kept. It holds for all frames, so draw it where the thing moves, and generously. "
        "All of the frame passes through the model: black areas keep their content, with slight "
        "loss of fine detail."
    ),
    "zh": (
        "**遮罩**：在源视频某一帧上绘制的图片，画幅与源视频相同：白色处重绘，黑色处保留。同一遮罩用于"
        "所有帧，请覆盖物体的全部运动范围并留出余量。整个画面都会经过模型：黑色区域内容不变，细节略有损失。"
    ),
}
