"""The fleet that is served, as bytes made in advance: each page is one slice of a graph's listing."""

from dataclasses import dataclass

PROJECT = "0123456789abcdef0123456789abcdef"
FIRST_START_MS = 1_700_000_000_000
STEP_MS = 3_600_000

_ROW = (
    '{{"id":"{g:08x}-0000-4000-a000-%(n)012x","name":"graph_{g:06d}_20240101000000_auto",'
    '"backup_method":"auto","graph_id":"{graph}","graph_name":"graph_{g:06d}",'
    '"graph_status":"200","graph_size_type_index":"1","data_store_version":"2.4.5",'
    '"arch":"x86_64","status":"success","start_timestamp":%(start)013d,'
    '"start_time":"2024-01-01T00:00:00","end_timestamp":%(end)013d,'
    '"end_time":"2024-01-01T00:00:54","product_type":"InMemory","size":%(size)04d,'
    '"duration":%(duration)03d,"encrypted":false}},'
)
_GRAPH = (
    '{{"id":"{graph}","name":"graph_{g:06d}","created_by":"ges_operator","is_multi_az":"false",'
    '"region_code":"eu-west-101","az_code":"eu-west-101a","data_store_version":"2.4.5",'
    '"status":"200","graph_size_type_index":"1","created":"2024-01-01T00:00:00",'
    '"updated":"2024-01-01T00:00:00","arch":"x86_64","product_type":"InMemory"}}'
)


def graph_id(number: int) -> str:
    """The id of a graph by its number."""
    return f"{number:08x}-1111-4111-a111-111111111111"


@dataclass(frozen=True)
class Listing:
    """One graph's backups: rows of one width, so that any page is a slice."""

    rows: bytes
    width: int
    length: int

    def page(self, order: str, visible: int, offset: int, limit: int) -> bytes:
        """The page of `limit` rows at `offset` where only the oldest `visible` rows exist."""
        first, last = offset, min(offset + limit, visible)
        if order == "new_to_old":  # the rows lie from new to old: the invisible ones come first
            hidden = self.length - visible
            first, last = first + hidden, last + hidden
        rows = self.rows[first * self.width : max(first, last) * self.width - 1]
        return b'{"backup_count":%d,"backup_list":[%b]}' % (visible, rows)


def make_listing(number: int, length: int, order: str) -> Listing:
    """A graph's `length` backups, those included that are appended later."""
    row = _ROW.format(g=number, graph=graph_id(number))
    places = range(length) if order == "old_to_new" else range(length - 1, -1, -1)
    rows = [
        row
        % {
            "n": n,
            "start": (start := FIRST_START_MS + n * STEP_MS + number * 7),
            "end": start + 54_000,
            "size": 1000 + (n * 37 + number) % 9000,
            "duration": 100 + n % 800,
        }
        for n in places
    ]
    text = "".join(rows).encode()
    return Listing(text, len(text) // length, length)


def make_graph_rows(graphs: int) -> list[bytes]:
    """The rows of ListGraphs."""
    return [_GRAPH.format(g=number, graph=graph_id(number)).encode() for number in range(graphs)]
