"""Loads the backups of all graphs of a GES project, with marks on what was deleted at the source.

What it needs to know, in ``.dlt/config.toml`` and ``.dlt/secrets.toml`` (`dlt init` leaves these
empty, since there is more than one way) or in variables such as SOURCES__GES_BACKUPS__PROJECT_ID:

    [sources.ges_backups]                  # config.toml
    region = "eu-west-101"                 # or endpoint = "https://ges.eu-west-101.myhuaweicloud.eu"
    project_id = "0123456789abcdef0123456789abcdef"

    [sources.ges_backups.credentials]      # secrets.toml, ONE of the three kinds
    token = "..."                          # an IAM token, lives 24 hours
    # username = "..."                     # with password and domain_name: tokens are fetched
    # access_key = "..."                   # with secret_key: needs the package huaweicloudsdkcore
"""

import dlt

from ges_backups import ges_backups


def load_backups() -> None:
    """Load what is new since the last run; safe to repeat."""
    # a cursor counts only if its row names a load that was completed
    dlt.config["normalize.parquet_normalizer.add_dlt_load_id"] = True
    pipeline = dlt.pipeline("ges_backups", destination="duckdb", dataset_name="ges")
    print(pipeline.run(ges_backups()))  # noqa: T201


if __name__ == "__main__":
    load_backups()
