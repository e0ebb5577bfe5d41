"""An Airflow 3 DAG that keeps the history: one task a project, then the check of the policy.

Lay it into Airflow's folder of DAGs, with ``ges-backup-history`` installed beside Airflow. The
projects and the database are Airflow variables; credentials come from dlt's configuration, such as
SOURCES__GES_BACKUPS__CREDENTIALS__USERNAME and PASSWORD in the environment of the workers.
"""

import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.exceptions import AirflowFailException
from airflow.sdk import dag, task

DATABASE = os.environ.get("GES_BACKUPS_DATABASE", "/srv/backups/ges_backups.duckdb")
PROJECTS = json.loads(os.environ.get("GES_BACKUPS_PROJECTS", "[{}]"))
"""Arguments of `ges_history.load` for each project; what is left out is dlt's configuration's."""


@task(retries=3, retry_delay=timedelta(minutes=1), retry_exponential_backoff=True)
def load_project(project: dict[str, Any]) -> dict[str, Any]:
    """Load what is new of a project; any number of tasks wait for each other where they must."""
    from ges_backups.errors import CredentialsError, SettingsError
    from ges_history import load
    from ges_history.errors import HistoryError

    try:
        outcome = load(DATABASE, wait=600, say=print, **project)
    except (CredentialsError, SettingsError) as error:  # no other try would help
        raise AirflowFailException(str(error)) from error
    except HistoryError as error:
        if error.is_lasting:
            raise AirflowFailException(str(error)) from error
        raise
    if outcome.exit_code == 1:  # of several projects, none could be loaded
        raise HistoryError(outcome.error)
    told = outcome.to_json()
    return {name: told[name] for name in ("outcome", "graphs", "backups", "requests")}


@task.bash(trigger_rule="all_done")
def check_policy() -> str:
    """Fail where the policy is violated (2) or cannot be judged (3); a warning (1) is let pass."""
    return f"ges-backups check --database {DATABASE!r}; code=$?; [ $code -le 1 ] || exit $code"


@dag(
    schedule="17 * * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["ges", "backups"],
)
def ges_backup_history() -> None:
    """Load every project each hour, then hold the policy against the history."""
    load_project.expand(project=PROJECTS) >> check_policy()


ges_backup_history()
