"""The resolver at 100.100.2.136: knows the emulated cloud's names, denies everything else at once.

Nothing is forwarded: a machine in a rehearsal must not learn of, nor wait for, any other network.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Sequence
from ipaddress import IPv4Address

from rehearsal.machine.slots import METADATA_ADDRESS, REGISTRY_ADDRESS

_A, _ANY, _IN = 1, 255, 1
_NO_ERROR, _FORMAT_ERROR, _NOT_IMPLEMENTED, _NAME_ERROR = 0, 1, 4, 3
_TTL_S = 60
_HEADER = struct.Struct("!6H")
_TCP_TIMEOUT_S = 5.0


def resolve(name: str) -> str | None:
    """IPv4 address of a name of the emulated cloud, or None when the name does not exist."""
    name = name.lower().rstrip(".")
    if name == "registry.vace.internal" or name.endswith(".registry.vace.internal"):
        return REGISTRY_ADDRESS
    if name == "aliyuncs.com" or name.endswith(".aliyuncs.com"):
        return METADATA_ADDRESS
    return None


def answer(query: bytes) -> bytes | None:
    """Reply to one DNS message; None when it is not a query (RFC 1035, section 4)."""
    if len(query) < _HEADER.size:
        return None
    identity, flags, questions, *_ = _HEADER.unpack_from(query)
    if flags & 0x8000:
        return None
    if flags & 0x7800:
        code, question, record = _NOT_IMPLEMENTED, b"", b""
    else:
        code, question, record = _answer_question(query, questions)
    # Keep opcode and "recursion desired"; say "response" and "recursion available".
    head = _HEADER.pack(
        identity, 0x8080 | (flags & 0x7900) | code, bool(question), bool(record), 0, 0
    )
    return head + question + record


def _answer_question(query: bytes, questions: int) -> tuple[int, bytes, bytes]:
    """Response code, question section and answer section."""
    try:
        name, end = _read_name(query)
        kind, klass = struct.unpack_from("!2H", query, end)
    except (ValueError, struct.error, IndexError):
        return _FORMAT_ERROR, b"", b""
    question = query[_HEADER.size : end + 4]
    address = resolve(name)
    if questions != 1:
        return _FORMAT_ERROR, b"", b""
    if address is None:
        return _NAME_ERROR, question, b""
    if kind not in (_A, _ANY) or klass != _IN:
        # The name exists, but has no record of this kind (AAAA): an empty answer, no error.
        return _NO_ERROR, question, b""
    # 0xC00C points at the question's name.
    record = struct.pack("!3HIH", 0xC00C, _A, _IN, _TTL_S, 4) + IPv4Address(address).packed
    return _NO_ERROR, question, record


def _read_name(message: bytes) -> tuple[str, int]:
    labels = []
    position = _HEADER.size
    while length := message[position]:
        if length > 63:
            raise ValueError("a question's name is not compressed")
        label = message[position + 1 : position + 1 + length]
        if len(label) < length:
            raise ValueError("the name is cut off")
        labels.append(label.decode("ascii", errors="replace"))
        position += 1 + length
    return ".".join(labels), position + 1


class DnsServer:
    """Answers on sockets that were bound inside the cloud namespace."""

    def __init__(
        self, datagrams: Sequence[socket.socket], streams: Sequence[socket.socket]
    ) -> None:
        self._sockets = [*datagrams, *streams]
        self._closed = threading.Event()
        for receiver in datagrams:
            threading.Thread(
                target=self._serve_datagrams, args=(receiver,), name="dns udp", daemon=True
            ).start()
        for listener in streams:
            threading.Thread(
                target=self._serve_streams, args=(listener,), name="dns tcp", daemon=True
            ).start()

    def close(self) -> None:
        """Stop answering."""
        self._closed.set()
        for each in self._sockets:
            # Closing alone does not wake a thread that is blocked in recvfrom or accept.
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _serve_datagrams(self, receiver: socket.socket) -> None:
        while True:
            try:
                query, client = receiver.recvfrom(4096)
            except OSError:
                return
            if self._closed.is_set():
                return
            if reply := answer(query):
                with contextlib.suppress(OSError):
                    receiver.sendto(reply, client)

    def _serve_streams(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=_serve_stream, args=(connection,), daemon=True).start()


def _serve_stream(connection: socket.socket) -> None:
    connection.settimeout(_TCP_TIMEOUT_S)
    with connection, contextlib.suppress(OSError), connection.makefile("rwb") as stream:
        while len(length := stream.read(2)) == 2:
            reply = answer(stream.read(int.from_bytes(length)))
            if reply is None:
                return
            stream.write(len(reply).to_bytes(2) + reply)
            stream.flush()
