"""Answers that a right HTTP server never sends: cut, reset, dripped, endless or not at all."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from ges_emulator.replies import Answer

LINGER_NOT = struct.pack("ii", 1, 0)
DELIVERY_SECONDS = 0.02
"""What was sent before a reset has to leave the socket first."""


class Connection:
    """The client's connection, to be written to byte by byte."""

    def __init__(self, transport: asyncio.Transport, stopping: asyncio.Event) -> None:
        self.transport = transport
        self.stopping = stopping

    @property
    def over(self) -> bool:
        """Whether the client has gone or the emulator stops."""
        return self.transport.is_closing() or self.stopping.is_set()

    async def pause(self, seconds: float) -> None:
        """Wait, but not longer than the emulator runs."""
        try:
            await asyncio.wait_for(self.stopping.wait(), seconds)
        except TimeoutError:
            return

    async def reset(self) -> None:
        """End the connection by a TCP reset, after what was written has left."""
        await asyncio.sleep(DELIVERY_SECONDS)
        connection = self.transport.get_extra_info("socket")
        if connection is not None and not self.transport.is_closing():
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
        self.transport.abort()


Send = Callable[[Connection, Answer], Awaitable[None]]


class WireResponse(web.StreamResponse):
    """Hands the connection to ``send`` and ends it afterwards."""

    def __init__(self, send: Send, answer: Answer, stopping: asyncio.Event) -> None:
        super().__init__(status=answer.status)
        self._send = send
        self._answer = answer
        self._stopping = stopping

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the answer as the fault wants it; aiohttp then closes the connection."""
        if request.transport is not None:
            await self._send(Connection(request.transport, self._stopping), self._answer)
        raise ConnectionResetError("the connection ends here by order of a fault")


def head(answer: Answer, content_length: int | None = None) -> bytes:
    """The status line and the headers."""
    body = answer.body or b""
    headers = {
        "Content-Type": answer.content_type,
        "Content-Length": str(len(body) if content_length is None else content_length),
        **answer.headers,
    }
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def reset_before_answer(connection: Connection, _: Answer) -> None:
    """Not a byte, then a reset."""
    await connection.reset()


async def reset_after_headers(connection: Connection, answer: Answer) -> None:
    """The headers, then a reset."""
    connection.transport.write(head(answer))
    await connection.reset()


async def reset_within_body(connection: Connection, answer: Answer) -> None:
    """The headers and half of the body, then a reset."""
    body = answer.body or b""
    connection.transport.write(head(answer) + body[: len(body) // 2])
    await connection.reset()


async def reset_after_body(connection: Connection, answer: Answer) -> None:
    """All of the answer, then a reset, though the headers promise a connection kept alive."""
    connection.transport.write(head(answer) + (answer.body or b""))
    await connection.reset()


async def cut_body(connection: Connection, answer: Answer) -> None:
    """A body shorter than its Content-Length, then an orderly end."""
    body = answer.body or b""
    connection.transport.write(head(answer) + body[: len(body) * 2 // 3])


async def hang(connection: Connection, _: Answer) -> None:
    """Nothing, for as long as the emulator runs."""
    await connection.stopping.wait()
    connection.transport.abort()


def slow_drip(bytes_at_once: int, interval_seconds: float) -> Send:
    """All of the answer, a few bytes at a time."""

    async def send(connection: Connection, answer: Answer) -> None:
        body = answer.body or b""
        connection.transport.write(head(answer))
        for start in range(0, len(body), bytes_at_once):
            if connection.over:
                return
            connection.transport.write(body[start : start + bytes_at_once])
            await connection.pause(interval_seconds)

    return send


def slow_headers(interval_seconds: float) -> Send:
    """The headers a byte at a time, then all of the body."""

    async def send(connection: Connection, answer: Answer) -> None:
        for byte in head(answer):
            if connection.over:
                return
            connection.transport.write(bytes([byte]))
            await connection.pause(interval_seconds)
        connection.transport.write(answer.body or b"")

    return send


def huge_body(total_bytes: int) -> Send:
    """A body of ``total_bytes``: valid JSON, blanks around the real answer's body."""

    async def send(connection: Connection, answer: Answer) -> None:
        body = answer.body or b""
        blanks = max(total_bytes - len(body), 0)
        connection.transport.write(head(answer, blanks + len(body)))
        piece = b" " * 65536
        while blanks and not connection.over:
            connection.transport.write(piece[:blanks])
            blanks -= min(blanks, len(piece))
            while connection.transport.get_write_buffer_size() and not connection.over:
                await asyncio.sleep(0.001)
        connection.transport.write(body)

    return send
