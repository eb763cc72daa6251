"""A simulated ComfyUI 0.33 for machines without a GPU.

It speaks ComfyUI's HTTP and WebSocket contract as recorded from a real server, runs graphs in the
real order with the real cache rules, and writes real H.264 videos whose pictures are drawn instead
of generated. Every answer carries ``X-Simulated: comfyui``; it never passes for the real program.

How the parts hang together::

    settings, faults, control   what the operator asked for; the Unix socket to ask for more
    flags, model_paths, main    the same in ComfyUI's own flags, as a source tree
    folders, catalogue          files on disk; node classes (object_info)
    validation                  POST /prompt: the real refusals, word for word
    prompt_queue, execution     one worker thread takes prompts and runs their nodes
    graph, cache, progress      order of nodes; what need not run again; progress messages
    nodes/, node_context        what each node class does, and what it may use
    scene, drawing, pictures    what is painted; what the inputs make of it; scaling
    video_files, output_files   reading and writing videos; what a fault does to a written one
    damage, misbehaviour        broken pictures and files; broken answers
    hub, routes/, server        WebSocket clients and HTTP

Start it with ``python -m rehearsal.comfyui``.
"""

COMFYUI_VERSION = "0.33.0"
