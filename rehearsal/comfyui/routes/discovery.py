"""What the server is and what it knows: statistics, node classes, models."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import PurePath

from aiohttp import web

from rehearsal.comfyui import COMFYUI_VERSION
from rehearsal.comfyui.folders import MODEL_FOLDERS
from rehearsal.comfyui.simulation import SIMULATION

FRONTEND_VERSION = "1.49.6"
TEMPLATES_VERSION = "0.11.44"


async def system_stats(_: web.Request) -> web.Response:
    """GET /system_stats, with ``system.simulated`` set."""
    page_size = os.sysconf("SC_PAGE_SIZE")
    total = os.sysconf("SC_PHYS_PAGES") * page_size
    free = os.sysconf("SC_AVPHYS_PAGES") * page_size
    return web.json_response(
        {
            "system": {
                "os": sys.platform,
                "ram_total": total,
                "ram_free": free,
                "comfyui_version": COMFYUI_VERSION,
                "required_frontend_version": FRONTEND_VERSION,
                "installed_templates_version": TEMPLATES_VERSION,
                "required_templates_version": TEMPLATES_VERSION,
                "comfy_package_versions": [],
                "python_version": sys.version,
                "pytorch_version": "none (simulated)",
                "embedded_python": False,
                "deploy_environment": "simulated",
                "argv": [PurePath(sys.argv[0]).name, *sys.argv[1:]],
                "simulated": True,
            },
            "devices": [
                {
                    "name": "simulated",
                    "type": "cpu",
                    "index": None,
                    "vram_total": total,
                    "vram_free": free,
                    "torch_vram_total": total,
                    "torch_vram_free": free,
                }
            ],
        }
    )


async def features(request: web.Request) -> web.Response:
    """GET /features."""
    return web.json_response(request.app[SIMULATION].features())


async def object_info(request: web.Request) -> web.Response:
    """GET /object_info: all node classes (about 1.3 MB)."""
    catalogue = request.app[SIMULATION].catalogue
    # Off the event loop: building it takes longer than a progress message should wait.
    text = await asyncio.to_thread(lambda: json.dumps(catalogue.everything()))
    return web.Response(text=text, content_type="application/json")


async def object_info_class(request: web.Request) -> web.Response:
    """GET /object_info/{class}: empty when there is no such class."""
    catalogue = request.app[SIMULATION].catalogue
    name = request.match_info["class"]
    return web.json_response({name: catalogue.definition(name)} if name in catalogue else {})


async def models(_: web.Request) -> web.Response:
    """GET /models: names of the model folders."""
    return web.json_response(list(MODEL_FOLDERS))


async def models_folder(request: web.Request) -> web.Response:
    """GET /models/{folder}: files in it; 404 for an unknown folder."""
    folder = request.match_info["folder"]
    if folder not in MODEL_FOLDERS:
        return web.Response(status=404)
    return web.json_response(request.app[SIMULATION].folders.model_names(folder))


async def embeddings(request: web.Request) -> web.Response:
    """GET /embeddings: names without suffix."""
    names = request.app[SIMULATION].folders.model_names("embeddings")
    return web.json_response([str(PurePath(name).with_suffix("")) for name in names])


async def experiment_models(request: web.Request) -> web.Response:
    """GET /experiment/models: folders with the paths that feed them."""
    folders = request.app[SIMULATION].folders
    hidden = {"configs", "custom_nodes"}
    return web.json_response(
        [
            {"name": name, "folders": [str(path) for path in folders.model_folders(name)]}
            for name in MODEL_FOLDERS
            if name not in hidden
        ]
    )


async def experiment_models_folder(request: web.Request) -> web.Response:
    """GET /experiment/models/{folder}: files with what the interface shows beside them."""
    folder = request.match_info["folder"]
    if folder not in MODEL_FOLDERS:
        return web.Response(status=404)
    folders = request.app[SIMULATION].folders
    return web.json_response(
        [
            {"name": name, "pathIndex": 0, **folders.model_facts(folder, name)}
            for name in folders.model_names(folder)
        ]
    )


async def global_subgraph(_: web.Request) -> web.Response:
    """GET /global_subgraphs/{id}: null, as for any id that is not there."""
    return web.json_response(None)


async def empty_object(_: web.Request) -> web.Response:
    """What node packs contribute to the interface: nothing, the packs here have no scripts."""
    return web.json_response({})


ROUTES = (
    ("GET", "/system_stats", system_stats),
    ("GET", "/features", features),
    ("GET", "/object_info", object_info),
    ("GET", "/object_info/{class}", object_info_class),
    ("GET", "/models", models),
    ("GET", "/models/{folder}", models_folder),
    ("GET", "/embeddings", embeddings),
    ("GET", "/experiment/models", experiment_models),
    ("GET", "/experiment/models/{folder}", experiment_models_folder),
    ("GET", "/i18n", empty_object),
    ("GET", "/workflow_templates", empty_object),
    ("GET", "/global_subgraphs", empty_object),
    ("GET", "/global_subgraphs/{id}", global_subgraph),
    ("GET", "/node_replacements", empty_object),
)
