"""A history in Dagster: tables and reports as assets, a policy as asset checks, a schedule.

    # definitions.py; `dagster dev -f definitions.py`
    from ges_history.dagster import backup_history

    defs = backup_history("/srv/backups/ges_backups.duckdb")

Needs the extra ``[dagster]``. Loads go through `ges_history.load`, so that its lock, its recovery
and its exactness hold here, too; dagster-dlt describes the tables.
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
import dlt
from dagster_dlt import DagsterDltTranslator, build_dlt_asset_specs
from dagster_dlt.translator import DltResourceTranslatorData

from ges_backups import GesCredentials, ges_backups
from ges_backups.errors import CredentialsError, SettingsError
from ges_history.errors import HistoryError
from ges_history.loading.outcome import LoadOutcome
from ges_history.loading.projects import load
from ges_history.reports.views import descriptions
from ges_history.warehouses import warehouse_for
from ges_history.warehouses.seam import DATASET, REPORTS
from ges_history.watching.findings import check
from ges_history.watching.kinds import KINDS
from ges_history.watching.policy import find_policy
from ges_history.watching.tell import as_table

Projects = Mapping[str, Mapping[str, Any]]
"""Arguments of `ges_history.load` by a project's name; what is left out is dlt's configuration's."""

GROUP = "ges_backups"
RETRIES = dg.RetryPolicy(max_retries=3, delay=60, backoff=dg.Backoff.EXPONENTIAL)
ROWS_SHOWN = 20
SECONDS_TO_WAIT = 600.0
HOURLY = "17 * * * *"


class _Translator(DagsterDltTranslator):
    """Names the assets as the warehouse names the tables."""

    def get_asset_spec(self, data: DltResourceTranslatorData) -> dg.AssetSpec:
        """The spec of a table; it comes from the API alone."""
        spec = super().get_asset_spec(data)
        return spec.replace_attributes(
            key=dg.AssetKey([DATASET, data.resource.name]), deps=[], group_name=GROUP
        )


def backup_history(
    database: str | Path = "ges_backups.duckdb",
    *,
    destination: str = "duckdb",
    projects: Projects | None = None,
    policy: str | Path | None = None,
    cron: str | None = HOURLY,
    stale_after_hours: float = 3.0,
    translator: DagsterDltTranslator | None = None,
) -> dg.Definitions:
    """All of a history for Dagster; merge it with your own by `Definitions.merge`.

    Args:
        database: The DuckDB file; for other destinations it names the folder of packages.
        destination: dlt's name of the destination.
        projects: Projects by name, each a partition; None: the one of dlt's configuration.
        policy: What must hold, TOML; None: `ges_policy.toml` beside the database, else the default.
        cron: When to load, in UTC; None: no schedule.
        stale_after_hours: Age of the last load from which the tables count as stale.
        translator: Gives the tables other keys, groups or tags.
    """
    partitions = dg.StaticPartitionsDefinition(list(projects)) if projects else None
    tables = _tables(database, destination, projects, partitions, stale_after_hours, translator)
    reports = _reports(database, destination, tables)
    checks = _checks(database, destination, policy, tables)
    selection = dg.AssetSelection.assets(*tables.keys, *reports.keys)
    job = dg.define_asset_job("load_backups", selection, partitions_def=partitions)
    return dg.Definitions(
        assets=[tables, reports],
        asset_checks=[checks],
        jobs=[job],
        schedules=[_schedule(job, cron, partitions)] if cron else [],
    )


def _tables(
    database: str | Path,
    destination: str,
    projects: Projects | None,
    partitions: dg.PartitionsDefinition[str] | None,
    stale_after_hours: float,
    translator: DagsterDltTranslator | None,
) -> dg.AssetsDefinition:
    freshness = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=stale_after_hours))
    specs = [spec.replace_attributes(freshness_policy=freshness) for spec in _specs(translator)]
    listed = dg.AssetCheckSpec(
        "all_listed", asset=specs[0].key, description="Every graph was listed, no record rejected."
    )

    @dg.multi_asset(
        name="ges_backups",
        specs=specs,
        check_specs=[listed],
        partitions_def=partitions,
        retry_policy=RETRIES,
        pool="ges_backups",
    )
    def tables(context: dg.AssetExecutionContext) -> Iterator[Any]:
        """Load what is new."""
        name = context.partition_key if partitions else None
        settings = {"name": name, **(projects or {}).get(name, {})} if name else {}
        outcome = _load(context, database, destination, settings)
        for spec in specs:
            yield dg.MaterializeResult(asset_key=spec.key, metadata=_told(outcome))
        yield dg.AssetCheckResult(
            check_name=listed.name,
            asset_key=listed.asset_key,
            passed=not outcome.problems,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"problems": dg.MetadataValue.json(outcome.problems[:ROWS_SHOWN])},
        )

    return tables


def _specs(translator: DagsterDltTranslator | None) -> list[dg.AssetSpec]:
    """The tables as dagster-dlt describes them; the settings are made up, and nothing is sent."""
    unused = GesCredentials()
    unused.parse_native_representation("described, never sent")
    source = ges_backups(project_id="0", endpoint="https://localhost", credentials=unused)
    with TemporaryDirectory() as folder:
        pipeline = dlt.pipeline(
            "ges_backups", destination="duckdb", dataset_name=DATASET, pipelines_dir=folder
        )
        described = build_dlt_asset_specs(source, pipeline, translator or _Translator())
        pipeline.deactivate()
    by_name: dict[str, dg.AssetSpec] = {spec.key.to_user_string(): spec for spec in described}
    return [by_name[name] for name in sorted(by_name)]


def _load(
    context: dg.AssetExecutionContext,
    database: str | Path,
    destination: str,
    settings: Mapping[str, Any],
) -> LoadOutcome:
    """Load; what trying again cannot help is not tried again."""
    try:
        outcome = load(
            database,
            destination=destination,
            wait=SECONDS_TO_WAIT,
            say=context.log.info,
            **settings,
        )
    except (SettingsError, CredentialsError) as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    except HistoryError as error:
        raise dg.Failure(str(error), allow_retries=not error.is_lasting) from error
    if outcome.exit_code == 1:  # of several projects, none could be loaded
        problems = dg.MetadataValue.json(outcome.problems[:ROWS_SHOWN])
        raise dg.Failure(outcome.error, metadata={"problems": problems})
    return outcome


def _told(outcome: LoadOutcome) -> dict[str, Any]:
    """The outcome of a load as metadata."""
    counts = {f"backups_{kind}": count for kind, count in outcome.backups.items()}
    graphs = {f"graphs_{kind}": count for kind, count in outcome.graphs.items()}
    return {
        "outcome": outcome.outcome,
        "requests": outcome.requests,
        "seconds": outcome.seconds,
        **graphs,
        **counts,
    }


def _reports(
    database: str | Path, destination: str, tables: dg.AssetsDefinition
) -> dg.AssetsDefinition:
    """Each report as an asset after the tables."""
    specs = [
        dg.AssetSpec(
            [REPORTS, name],
            deps=list(tables.keys),
            description=text,
            group_name=GROUP,
            kinds={"sql", "view"},
        )
        for name, text in descriptions().items()
    ]

    @dg.multi_asset(name="ges_reports", specs=specs, can_subset=True)
    def reports(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
        """Read each report: how many rows, and the first of them."""
        with warehouse_for(database, destination).reading(SECONDS_TO_WAIT) as read:
            for spec in specs:
                if spec.key not in context.selected_asset_keys:
                    continue
                rows = read(f"FROM {REPORTS}.{spec.key.path[-1]}")
                first = rows.slice(0, ROWS_SHOWN).to_pandas()
                yield dg.MaterializeResult(
                    asset_key=spec.key,
                    metadata={
                        "dagster/row_count": len(rows),
                        "first_rows": dg.MetadataValue.json(
                            first.astype(str).to_dict(orient="records")
                        ),
                    },
                )

    return reports


def _checks(
    database: str | Path,
    destination: str,
    policy: str | Path | None,
    tables: dg.AssetsDefinition,
) -> dg.AssetChecksDefinition:
    """A check for each kind of rule of a policy; what is violated, or unknown, is its metadata."""
    backups = next(key for key in tables.keys if key.path[-1] == "backups")
    specs = [dg.AssetCheckSpec(name, asset=backups) for name in KINDS]

    @dg.multi_asset_check(name="ges_policy", specs=specs)
    def checks() -> Iterator[dg.AssetCheckResult]:
        """Hold the policy against the history."""
        rules = find_policy(Path(policy) if policy else None, Path(database).parent)
        with warehouse_for(database, destination).reading(SECONDS_TO_WAIT) as read:
            found = check(read, rules)
        for spec in specs:
            bad = [one for one in found.findings if one.rule == spec.name and one.rank < 3]
            worst = any(finding.rank == 0 for finding in bad)
            rows = as_table(bad[:ROWS_SHOWN]).to_pylist()
            yield dg.AssetCheckResult(
                check_name=spec.name,
                asset_key=backups,
                passed=not bad,
                severity=dg.AssetCheckSeverity.ERROR if worst else dg.AssetCheckSeverity.WARN,
                metadata={"findings": len(bad), "rows": dg.MetadataValue.json(rows)},
            )

    return checks


def _schedule(
    job: Any, cron: str, partitions: dg.PartitionsDefinition[str] | None
) -> dg.ScheduleDefinition:
    """Load every project at these times."""

    @dg.schedule(job=job, cron_schedule=cron, execution_timezone="UTC")
    def load_backups_hourly(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
        """A run for each project; a key tells those of one tick apart."""
        tick = f"{context.scheduled_execution_time:%Y-%m-%dT%H:%M}"
        for name in partitions.get_partition_keys() if partitions else [None]:
            yield dg.RunRequest(run_key=f"{name} {tick}" if name else tick, partition_key=name)

    return load_backups_hourly
