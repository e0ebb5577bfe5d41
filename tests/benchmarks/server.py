"""A thin stand-in for the API that is never the bottleneck: one process, pages cut out of bytes.

    python tests/benchmarks/server.py --graphs 100 --backups 1000

prints its port. It knows the two listings, nothing else: no authentication, no faults; for those
there is `ges_emulator`. `GET /control?append=1` and the like are the benchmark's own.
"""

import argparse
import asyncio
import gc
import json
import math
import os
import resource
import sys
import time
from urllib.parse import parse_qsl

from fleet_bytes import PROJECT, Listing, graph_id, make_graph_rows, make_listing

MOST_ROWS = 1000
"""More the server does not give, whatever is asked for."""
HEAD = "HTTP/1.1 {}\r\nContent-Type: application/json\r\nContent-Length: "
OK, MISSING, THROTTLED = (
    HEAD.format(line).encode() for line in ("200 OK", "404 Not Found", "429 Too Many Requests")
)


class State:
    """What is served and what was asked."""

    def __init__(self, graphs: int, backups: int, order: str, spare: int) -> None:
        self.graphs = graphs
        self.backups = backups
        self.order = order
        self.numbers = {graph_id(number).encode(): number for number in range(graphs)}
        self.listings: dict[int, Listing] = {
            number: make_listing(number, backups + spare, order) for number in range(graphs)
        }
        self.graph_rows = make_graph_rows(graphs)
        self.appended = 0
        self.latency = 0.0
        self.rate = 0.0
        self.tokens = 0.0
        self.filled_at = 0.0
        self.requests = self.throttled = self.bytes = 0

    def set(self, settings: dict[str, float]) -> None:
        """Settings of a scenario; `reset` forgets what was appended and counted."""
        if "reset" in settings:
            self.appended = 0
            self.latency = self.rate = 0.0
        self.appended += int(settings.get("append", 0))
        self.latency = settings.get("latency", self.latency)
        if "rate" in settings:
            self.rate = self.tokens = settings["rate"]
            self.filled_at = time.monotonic()
        self.requests = self.throttled = self.bytes = 0

    def stats(self) -> dict[str, float]:
        """What was asked since the last change of a setting, and this process's CPU so far."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "requests": self.requests,
            "throttled": self.throttled,
            "bytes": self.bytes,
            "appended": self.appended,
            "cpu_seconds": used.ru_utime + used.ru_stime,
        }

    def wait_seconds(self) -> int:
        """A token bucket that holds one second's tokens: 0, or the seconds to wait."""
        if not self.rate:
            return 0
        now = time.monotonic()
        self.tokens = min(self.rate, self.tokens + (now - self.filled_at) * self.rate)
        self.filled_at = now
        if self.tokens < 1:
            return math.ceil((1 - self.tokens) / self.rate)
        self.tokens -= 1
        return 0

    def answer(self, target: bytes) -> bytes:
        """The whole response to a request for `target`."""
        path, _, query = target.partition(b"?")
        if path == b"/control":
            asked = {name.decode(): float(value) for name, value in parse_qsl(query)}
            stats = json.dumps(self.stats()).encode()
            if asked:
                self.set(asked)
            return b"%b%d\r\n\r\n%b" % (OK, len(stats), stats)
        self.requests += 1
        if wait := self.wait_seconds():
            self.throttled += 1
            body = (
                b'{"error_code":"APIGW.0308","error_msg":"The throttling threshold was reached."}'
            )
            return b"%b%d\r\nRetry-After: %d\r\n\r\n%b" % (THROTTLED, len(body), wait, body)
        offset, limit = _paging(query)
        limit = min(limit, MOST_ROWS)
        parts = path.split(b"/")
        if len(parts) == 4:
            rows = b",".join(self.graph_rows[offset : offset + limit])
            body = b'{"graph_count":%d,"graphs":[%b]}' % (self.graphs, rows)
        elif (number := self.numbers.get(parts[4])) is not None:
            body = self.listings[number].page(
                self.order, self.backups + self.appended, offset, limit
            )
        else:
            return b"%b%d\r\n\r\n%b" % (MISSING, 2, b"{}")
        self.bytes += len(body)
        return b"%b%d\r\n\r\n%b" % (OK, len(body), body)


def _paging(query: bytes) -> tuple[int, int]:
    offset, limit = 0, 10
    for part in query.split(b"&"):
        if part.startswith(b"offset="):
            offset = int(part[7:])
        elif part.startswith(b"limit="):
            limit = int(part[6:])
    return offset, limit


class Connection(asyncio.Protocol):
    """One keep-alive connection of a client."""

    def __init__(self, state: State, loop: asyncio.AbstractEventLoop) -> None:
        self.state = state
        self.loop = loop
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            target = self.received[: self.received.index(b"\r\n")].split(b" ")[1]
            self.received = self.received[end + 4 :]
            response = self.state.answer(target)
            if self.state.latency and not target.startswith(b"/control"):
                self.loop.call_later(self.state.latency, self.transport.write, response)
            else:
                self.transport.write(response)


async def serve(state: State) -> None:
    """Serve on a free port until the parent closes our standard input."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(state, loop), "127.0.0.1", 0, backlog=256)
    print(json.dumps({"port": server.sockets[0].getsockname()[1], "project": PROJECT}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    os._exit(0)


def main() -> None:
    """Make the bytes, then serve them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graphs", type=int, default=100)
    parser.add_argument("--backups", type=int, default=1000)
    parser.add_argument("--order", choices=["old_to_new", "new_to_old"], default="old_to_new")
    parser.add_argument("--spare", type=int, default=4, help="Backups to append, at most.")
    parser.add_argument("--core", type=int, help="Run on this core only.")
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    state = State(options.graphs, options.backups, options.order, options.spare)
    gc.disable()
    asyncio.run(serve(state))


if __name__ == "__main__":
    main()
