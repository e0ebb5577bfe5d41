"""How fast the server alone is: raw sockets ask for pages and throw them away.

    python tests/benchmarks/wire.py PORT PAGE_SIZE GRAPHS BACKUPS CONNECTIONS

prints pages per second, and the server's share of a core meanwhile.
"""

import json
import selectors
import socket
import sys
import time

from fleet_bytes import PROJECT, graph_id

SECONDS = 3.0


def main(port: int, page_size: int, graphs: int, backups: int, connections: int) -> None:
    targets = [
        f"GET /v2/{PROJECT}/graphs/{graph_id(g)}/backups?offset={at}&limit={page_size} "
        "HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        for g in range(min(graphs, 100))
        for at in range(0, backups, page_size)
    ]
    before = ask_stats(port)
    selector = selectors.DefaultSelector()
    sent = answers = 0
    for _ in range(connections):
        client = socket.create_connection(("127.0.0.1", port))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(targets[sent % len(targets)])
        sent += 1
        selector.register(client, selectors.EVENT_READ, [0])
    start = time.monotonic()
    while time.monotonic() < start + SECONDS:
        for key, _ in selector.select():
            block = key.fileobj.recv(1 << 20)
            left = key.data
            if not left[0]:
                head, _, body = block.partition(b"\r\n\r\n")
                left[0] = int(head.rsplit(b"Content-Length: ", 1)[1]) - len(body)
            else:
                left[0] -= len(block)
            if not left[0]:
                answers += 1
                key.fileobj.sendall(targets[sent % len(targets)])
                sent += 1
    seconds = time.monotonic() - start
    share = (ask_stats(port)["cpu_seconds"] - before["cpu_seconds"]) / seconds
    print(json.dumps({"pages_per_second": answers / seconds, "server_core_share": share}))


def ask_stats(port: int) -> dict:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET /control HTTP/1.1\r\nHost: x\r\n\r\n")
        return json.loads(client.recv(65536).partition(b"\r\n\r\n")[2])


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
