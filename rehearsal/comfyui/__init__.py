"""A simulated ComfyUI 0.33 for machines without a GPU.

It speaks ComfyUI's HTTP and WebSocket contract as recorded from a real server, runs graphs in the
real order with the real cache rules, and writes real H.264 videos whose pictures are drawn instead
of generated. Every answer carries ``X-Simulated: comfyui``; it never passes for the real program.

How the parts hang together::

    settings, faults            what the operator asked for
    flags, model_paths, main    the same in ComfyUI's own flags, as a source tree
    folders, catalogue          files on disk; node classes (object_info)
    validation                  POST /prompt: the real refusals, word for word
    prompt_queue, execution     one worker thread takes prompts and runs their nodes
    graph, cache, progress      order of nodes; what need not run again; progress messages
    nodes/                      what each node class does
    pictures, video_files       drawing frames; reading and writing videos
    hub, routes/, server        WebSocket clients and HTTP

Start it with ``python -m rehearsal.comfyui``.
"""

COMFYUI_VERSION = "0.33.0"
