"""The floor: what a person writes by hand in an afternoon, and fast. It guarantees nothing.

Requests in 8 threads, orjson, pyarrow, duckdb. Every run reads everything and replaces the table.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from threading import local

import duckdb
import orjson
import pyarrow as pa
import requests

ENDPOINT, PROJECT = os.environ["BENCH_ENDPOINT"], os.environ["BENCH_PROJECT"]
LIMIT = int(os.environ["BENCH_PAGE_SIZE"])
TEXT = (
    "id name backup_method graph_id graph_name graph_status graph_size_type_index "
    "data_store_version arch status start_time end_time product_type"
)
SCHEMA = pa.schema(
    [(name, pa.string()) for name in TEXT.split()]
    + [(name, pa.int64()) for name in ("start_timestamp", "end_timestamp", "size", "duration")]
    + [("encrypted", pa.bool_())]
)
here = local()


def get(path: str, offset: int) -> dict:
    if not hasattr(here, "session"):
        here.session = requests.Session()
        here.session.headers["X-Auth-Token"] = "token"
    url = f"{ENDPOINT}/v2/{PROJECT}/graphs{path}"
    answer = here.session.get(url, params={"offset": offset, "limit": LIMIT}, timeout=60)
    answer.raise_for_status()
    return orjson.loads(answer.content)


def read(graph_id: str) -> list[pa.Table]:
    tables: list[pa.Table] = []
    offset, count = 0, 1
    while offset < count:
        page = get(f"/{graph_id}/backups", offset)
        tables.append(pa.Table.from_pylist(page["backup_list"], schema=SCHEMA))
        offset, count = offset + len(page["backup_list"]), page["backup_count"]
    return tables


graphs: list[dict] = []
while not graphs or len(graphs) < found["graph_count"]:  # noqa: F821
    found = get("", len(graphs))
    graphs += found["graphs"]
with ThreadPoolExecutor(8) as pool:
    rows = pa.concat_tables(
        table for tables in pool.map(read, [graph["id"] for graph in graphs]) for table in tables
    )
with duckdb.connect("floor.duckdb") as connection:
    connection.execute("CREATE OR REPLACE TABLE backups AS SELECT * FROM rows")
