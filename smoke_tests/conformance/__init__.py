"""Does a server answer as ComfyUI 0.33.0 did?

Replays recorded conversations (`data/README.md`) against any server and says where its answers
differ, and asks every documented route whether it answers as documented. The simulated ComfyUI of
a rehearsal is held to it, and whoever has a real one can hold the simulation to that::

    python -m smoke_tests.conformance --url URL [--token-file FILE] [--ca-file FILE]

The server must be idle and nobody else's: its cache, queue and history are emptied.

    recordings   what was recorded            files      what is uploaded
    compare      what counts as the same      replay     sends the requests again
    routes       documented routes            __main__   command line
"""
