"""What each node class does.

A behaviour takes a `NodeContext` and the node's inputs by name, and returns a `NodeResult`.
Classes without a behaviour are listed by /object_info all the same and fail loudly when they run.
"""

from __future__ import annotations

from rehearsal.comfyui.node_context import Behaviour
from rehearsal.comfyui.nodes import core_video, images, loaders, masks, padding, video_helper, wan

BEHAVIOURS: dict[str, Behaviour] = {
    **loaders.BEHAVIOURS,
    **wan.BEHAVIOURS,
    **images.BEHAVIOURS,
    **masks.BEHAVIOURS,
    **padding.BEHAVIOURS,
    **video_helper.BEHAVIOURS,
    **core_video.BEHAVIOURS,
}
