"""The plugin's process: serve the engine, and end with it."""

import os
import signal
import threading
from concurrent import futures
from pathlib import Path

import grpc  # type: ignore[import-untyped]
from pulumi.runtime.proto import provider_pb2_grpc

from rehearsal.kubernetes_plugin.provider import Provider
from rehearsal.kubernetes_plugin.tools import Processes

_WORKERS = 16
_LARGEST_MESSAGE = 400 * 1024 * 1024
"""The engine's own limit, bytes."""
_POLL_SECONDS = 0.5


def main() -> int:
    """Serve until the engine ends or asks to end; what runs then is ended politely first."""
    parent = os.getppid()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    processes = Processes()
    provider = Provider(processes, Path.cwd())
    limits = [
        ("grpc.max_receive_message_length", _LARGEST_MESSAGE),
        ("grpc.max_send_message_length", _LARGEST_MESSAGE),
    ]
    server = grpc.server(futures.ThreadPoolExecutor(_WORKERS), options=limits)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server)
    # The engine reads the port from the first line.
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    # A killed engine says nothing; only the changed parent shows that it is gone.
    while not stop.wait(_POLL_SECONDS) and os.getppid() == parent:
        pass
    processes.cancel()
    while not processes.idle():
        threading.Event().wait(_POLL_SECONDS)
    server.stop(grace=None).wait()
    provider.close()
    return 0
