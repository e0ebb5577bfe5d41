"""The script that the vendor's documentation leads to: its SDK, pandas, a table in DuckDB."""

import os

import duckdb
import pandas as pd
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkges.v2 import GesClient, ListGraphBackups2Request, ListGraphs2Request

LIMIT = int(os.environ["BENCH_PAGE_SIZE"])
client = (
    GesClient.new_builder()
    .with_credentials(BasicCredentials("AK", "SK", os.environ["BENCH_PROJECT"]))
    .with_endpoint(os.environ["BENCH_ENDPOINT"])
    .build()
)

graphs: list = []
while not graphs or len(graphs) < found.graph_count:  # noqa: F821
    found = client.list_graphs2(ListGraphs2Request(offset=len(graphs), limit=LIMIT))
    graphs += found.graphs

rows: list[dict] = []
for graph in graphs:
    offset, count = 0, 1
    while offset < count:
        request = ListGraphBackups2Request(graph_id=graph.id, offset=offset, limit=LIMIT)
        page = client.list_graph_backups2(request)
        rows += [backup.to_dict() for backup in page.backup_list]
        offset, count = offset + len(page.backup_list), page.backup_count
frame = pd.DataFrame(rows)
with duckdb.connect("vendor_sdk.duckdb") as connection:
    connection.execute("CREATE OR REPLACE TABLE backups AS SELECT * FROM frame")
os._exit(0)  # the SDK's connection pool is left to the system
