"""The plain dlt script: all graphs' backups into DuckDB. Settings: .dlt/config.toml, secrets.toml.

``ges-backups load`` does the same and adds the lock, progress, exit codes and reports.
"""

import dlt

from ges_backups import ges_backups
from ges_history.loading.settle import settle

if __name__ == "__main__":
    pipeline = dlt.pipeline("ges_backups", destination="duckdb", dataset_name="ges")
    print(pipeline.run(ges_backups()))  # noqa: T201
    settle(pipeline)
