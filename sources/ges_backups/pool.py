"""Many graphs, listed side by side by a bounded pool of threads; their list, where none was given."""

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import quote

import pyarrow as pa

from .client import Cancelled, GesClient
from .errors import CredentialsError, SourceDown, TransientError
from .graph import PROJECT_WIDE, GraphListing, GraphReader, ListingOptions, unforeseen
from .keys import Key, own_key
from .listing import Cursor, Page, moved_where_refused, read_complete
from .page_size import PageSize
from .pages import parse_graphs
from .records import MAX_KEY_BYTES, Rejected, Rows, reject

T = TypeVar("T")

LONGEST_END_SECONDS = 30.0
PATIENCE_SECONDS = 5.0
"""After so long without a listing, who waits for one is told so."""


def fetch_graphs(
    client: GesClient, project_id: str, page_size: int | PageSize
) -> tuple[list[dict[str, Any]], list[Rejected]]:
    """All graphs of a project by ListGraphs, as exactly as backups are listed.

    Returns:
        The records with an id, each id once, in the order of the list; and the others.
        `PROJECT_WIDE` is no id: it stands for all graphs.

    Raises:
        AnswerError, CredentialsError, SourceDown: There is no complete list, so nothing to load.
    """
    path = f"/v2/{quote(project_id, safe='')}/graphs"
    records: dict[Key, Any] = {}
    size = PageSize.of(page_size)

    def ask(offset: int, limit: int) -> Page[list[Any]]:
        params = {"offset": offset, "limit": limit}
        return client.get(path, params, lambda body: parse_graphs(body, path, offset))

    def fetch(offset: int, limit: int) -> Page[list[Any]]:
        with moved_where_refused(offset):
            page = size.ask("graphs", limit, lambda rows: ask(offset, rows))
        records.update(zip(page.keys, page.rows, strict=True))
        return page

    def fetch_many(offsets: Sequence[int], limit: int) -> Generator[Page[list[Any]]]:
        return (fetch(offset, limit) for offset in offsets)

    try:
        listed = read_complete(fetch, fetch_many, size.rows, path)
    except TransientError as error:
        raise SourceDown(
            f"The API does not answer at {client.endpoint}: {error}. Check the endpoint, the "
            "network and a proxy's settings; nothing was changed."
        ) from error
    graphs: dict[str, dict[str, Any]] = {}
    rejected: list[Rejected] = []
    for key in listed.keys:
        record = records[own_key(key)]
        graph_id = record.get("id") if isinstance(record, dict) else None
        if odd := _odd_id(graph_id):
            rejected.append(reject(record, None, f"a graph of the project's list has {odd}"))
        else:
            graphs[str(graph_id)] = record
    return list(graphs.values()), rejected


def _odd_id(graph_id: Any) -> str | None:
    """What is wrong with the id of a graph, in words, or None."""
    if not isinstance(graph_id, str) or not graph_id:
        return "no id"
    if graph_id == PROJECT_WIDE:
        return f"the id {graph_id}"
    if len(graph_id.encode(errors="replace")) > MAX_KEY_BYTES:
        return f"an id of more than {MAX_KEY_BYTES:,} bytes, too many for a key"
    return None


class GraphPool:
    """Lists graphs side by side, at most `concurrency` at once.

    One graph alone uses the whole pool for its pages: what is not needed for graphs serves pages.

    Args:
        client: Sends the requests; stopped when the iteration ends early.
        project_id: The project.
        options: How graphs are read.
        concurrency: Threads.
    """

    def __init__(
        self, client: GesClient, project_id: str, options: ListingOptions, concurrency: int
    ) -> None:
        self._client = client
        self._project_id = project_id
        self._options = options
        self._concurrency = concurrency
        self._busy = 0
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        pa.scalar(0)  # pyarrow imports pandas now, if ever: threads would see half of it
        self._pages = ThreadPoolExecutor(concurrency, thread_name_prefix="ges-pages")

    def iter_listings(
        self,
        graph_ids: Sequence[str],
        cursors: Mapping[str, Cursor],
        on_wait: Callable[[], object] = lambda: None,
    ) -> Iterator[GraphListing]:
        """Yield each graph's listing when it is done, in any order; `on_wait` is called meanwhile.

        Raises:
            CredentialsError, SourceDown: No graph can be listed; the others are stopped. Whatever
                else goes wrong with a graph is that graph's outcome.
        """
        waiting = iter(graph_ids)
        done: queue.Queue[GraphListing | BaseException] = queue.Queue(2 * self._concurrency)
        threads = [
            threading.Thread(
                target=self._work, args=(waiting, cursors, done), name="ges-graphs", daemon=True
            )
            for _ in range(min(self._concurrency, len(graph_ids)))
        ]
        for thread in threads:
            thread.start()
        try:
            for _ in graph_ids:
                result = _get(done, on_wait)
                if isinstance(result, BaseException):
                    raise result
                yield result
        except BaseException:
            self._client.cancel()
            raise
        finally:
            self._end(threads)

    def _end(self, threads: Sequence[threading.Thread]) -> None:
        """Wait for the threads, within bounds: none may still run when the next load begins."""
        self._stopped.set()
        self._pages.shutdown(wait=False, cancel_futures=True)
        until = time.monotonic() + LONGEST_END_SECONDS
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        if not any(thread.is_alive() for thread in threads):
            self._pages.shutdown(wait=True)

    def _work(
        self,
        waiting: Iterator[str],
        cursors: Mapping[str, Cursor],
        done: "queue.Queue[GraphListing | BaseException]",
    ) -> None:
        while not self._stopped.is_set():
            with self._lock:
                graph_id = next(waiting, None)
                if graph_id is None:
                    return
                self._busy += 1
            try:
                result: GraphListing | BaseException = self._read(graph_id, cursors)
            except BaseException as error:
                result = error
            with self._lock:
                self._busy -= 1
            self._hand_over(result, done)

    def _hand_over(
        self,
        result: GraphListing | BaseException,
        done: "queue.Queue[GraphListing | BaseException]",
    ) -> None:
        """Put it into the queue when there is room, or drop it when nobody waits any more."""
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                done.put(result, timeout=0.5)
                return

    def _read(self, graph_id: str, cursors: Mapping[str, Any]) -> GraphListing:
        """One graph's listing; what nobody foresaw is its outcome, too, and stops no other."""
        reader = None
        try:
            reader = GraphReader(
                self._client,
                self._project_id,
                graph_id,
                cursors.get(graph_id),
                self._options,
                self._side_by_side,
            )
            return reader.read()
        except Cancelled:
            raise
        except Exception as error:
            if isinstance(error, CredentialsError | SourceDown) and not self._options.is_extra:
                raise
            return unforeseen(self._project_id, graph_id, error, reader.requests if reader else 0)

    def _side_by_side(
        self, fetch: Callable[[int], Page[Rows]], offsets: Iterable[int]
    ) -> Generator[Page[Rows]]:
        """Pages at many offsets in their order, as many at once as no graph needs the threads for."""
        ahead: deque[Future[Page[Rows]]] = deque()
        try:
            for offset in offsets:
                width = self._concurrency // max(1, self._busy)
                if width <= 1 and not ahead:
                    yield fetch(offset)
                    continue
                ahead.append(self._pages.submit(fetch, offset))
                if len(ahead) >= 2 * width:  # so that no thread waits while the oldest is looked at
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            futures.wait([future for future in ahead if not future.cancel()])


def _get(done: "queue.Queue[T]", on_wait: Callable[[], object]) -> T:
    while True:
        try:
            return done.get(timeout=PATIENCE_SECONDS)
        except queue.Empty:
            on_wait()
