"""dlt source of the backups of Huawei Cloud's Graph Engine Service (GES).

import dlt
from ges_backups import ges_backups

pipeline = dlt.pipeline("ges_backups", destination="duckdb", dataset_name="ges")
pipeline.run(ges_backups(project_id=..., endpoint=..., credentials=...))
"""

from .credentials import GesCredentials
from .source import ges_backups

__all__ = ["GesCredentials", "ges_backups"]
