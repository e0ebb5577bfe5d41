"""dlt's ready-made `rest_api` source, as its documentation configures it; argument: a file format."""

import os
import sys

import dlt
from dlt.sources.rest_api import rest_api_source

LIMIT = int(os.environ["BENCH_PAGE_SIZE"])
file_format = sys.argv[1] if len(sys.argv) > 1 else None
project = f"v2/{os.environ['BENCH_PROJECT']}/graphs"


def offset(total_path: str) -> dict:
    return {"type": "offset", "limit": LIMIT, "total_path": total_path}


source = rest_api_source(
    {
        "client": {
            "base_url": os.environ["BENCH_ENDPOINT"],
            "headers": {"X-Auth-Token": "token"},
        },
        "resource_defaults": {"primary_key": "id", "write_disposition": "merge"},
        "resources": [
            {
                "name": "graphs",
                "endpoint": {
                    "path": project,
                    "data_selector": "graphs",
                    "paginator": offset("graph_count"),
                },
            },
            {
                "name": "backups",
                "endpoint": {
                    "path": f"{project}/{{resources.graphs.id}}/backups",
                    "data_selector": "backup_list",
                    "paginator": offset("backup_count"),
                    "incremental": {"cursor_path": "start_timestamp", "initial_value": 0},
                },
            },
        ],
    }
)
pipeline = dlt.pipeline(
    "rest_api",
    destination=dlt.destinations.duckdb("dlt_rest_api.duckdb"),
    dataset_name="ges",
    pipelines_dir="pipelines",
)
pipeline.run(source, loader_file_format=file_format)
