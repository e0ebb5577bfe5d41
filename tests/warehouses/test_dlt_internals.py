"""What the project uses of dlt beyond its public modules: the one list of it, with why, held to dlt.

dlt is pinned to one minor version. Before the pin is raised, this file says what to look at.
"""

import ast
import importlib
import inspect
from pathlib import Path

import pytest
from dlt.common.destination.client import RunnableLoadJob
from dlt.common.storages.load_package import PackageStorage

ROOT = Path(__file__).parents[2]
PUBLIC = {
    "dlt",
    "dlt.common.configuration",
    "dlt.common.configuration.exceptions",
    "dlt.common.configuration.specs",
    "dlt.common.destination",
    "dlt.common.destination.exceptions",
    "dlt.common.destination.typing",
    "dlt.common.exceptions",
    "dlt.common.schema",
    "dlt.common.schema.exceptions",
    "dlt.common.schema.typing",
    "dlt.common.storages",
    "dlt.common.storages.exceptions",
    "dlt.common.typing",
    "dlt.destinations",
    "dlt.destinations.exceptions",
    "dlt.extract",
    "dlt.pipeline.exceptions",
}
SETTINGS = "settings below the user's own, and no telemetry, for as long as a load runs"
OWN_MERGE = "a file is merged by itself, in one transaction that can be repeated"
OWN_LAKE = "a commit to a lake is fenced, pruned by partition, and repeatable"
WHOLE = "dlt's small files come into a folder as a whole, and half ones are passed over"
AGAIN = "a package that was loaded in part is loaded again as a whole"
INTERNALS = {
    "dlt.common.configuration.container:Container": SETTINGS,
    "dlt.common.configuration.providers:CustomLoaderDocProvider": SETTINGS,
    "dlt.common.configuration.providers.toml:TomlProviderReadException": "says where, and no word",
    "dlt.common.configuration.providers:EnvironProvider": "variables without a section are not ours",
    "dlt.common.configuration.specs.base_configuration:is_secret_hint": "a file may hold a secret",
    "dlt.common.configuration.specs.config_providers_context:ConfigProvidersContainer": SETTINGS,
    "dlt.common.configuration.specs.pluggable_run_context:PluggableRunContext": SETTINGS,
    "dlt.common.runtime.telemetry:stop_telemetry": SETTINGS,
    "dlt.common.runtime.collector_base:Collector": "the bar by graphs on a terminal",
    "dlt.common.runtime.collector:NULL_COLLECTOR": "shows nothing, where nobody looks",
    "dlt.common.destination.capabilities:DestinationCapabilitiesContext": OWN_MERGE,
    "dlt.common.destination.client:FollowupJobRequest": OWN_MERGE,
    "dlt.common.destination.client:HasFollowupJobs": OWN_MERGE,
    "dlt.common.destination.client:JobClientBase": OWN_MERGE,
    "dlt.common.destination.client:LoadJob": OWN_MERGE,
    "dlt.common.destination.client:RunnableLoadJob": OWN_MERGE,
    "dlt.common.destination.utils:get_merge_changed_cond": OWN_MERGE,
    "dlt.common.normalizers.naming:NamingConvention": OWN_MERGE,
    "dlt.destinations.impl.duckdb.configuration:DuckDbClientConfiguration": OWN_MERGE,
    "dlt.destinations.impl.duckdb.duck:DuckDbClient": OWN_MERGE,
    "dlt.destinations.impl.duckdb.duck:DuckDbCopyJob": OWN_MERGE,
    "dlt.destinations.impl.duckdb.sql_client:DuckDbSqlClient": "names in three parts",
    "dlt.destinations.impl.postgres.configuration:PostgresClientConfiguration": OWN_MERGE,
    "dlt.destinations.impl.postgres.configuration:PostgresCredentials": OWN_MERGE,
    "dlt.destinations.impl.postgres.factory:PostgresTypeMapper": OWN_MERGE,
    "dlt.destinations.impl.postgres.postgres:PostgresClient": OWN_MERGE,
    "dlt.destinations.impl.postgres.sql_client:Psycopg2SqlClient": OWN_MERGE,
    "dlt.destinations.insert_job_client:InsertValuesLoadJob": OWN_MERGE,
    "dlt.destinations.job_client_impl:SqlJobClientWithStagingDataset": OWN_MERGE,
    "dlt.destinations.sql_client:SqlClientBase": OWN_MERGE,
    "dlt.destinations.sql_client:raise_database_error": OWN_MERGE,
    "dlt.common.destination.utils:get_merge_compare_columns": OWN_LAKE,
    "dlt.common.libs.deltalake:deltalake_storage_options": OWN_LAKE,
    "dlt.common.libs.deltalake:ensure_delta_compatible_arrow_schema": OWN_LAKE,
    "dlt.destinations.impl.filesystem.filesystem:CURRENT_VERSION": WHOLE,
    "dlt.destinations.impl.filesystem.filesystem:FILENAME_SEPARATOR": WHOLE,
    "dlt.destinations.impl.filesystem.filesystem:FilesystemClient": OWN_LAKE,
    "dlt.destinations.impl.filesystem.filesystem:ReferenceFollowupJob": OWN_LAKE,
    "dlt.destinations.impl.filesystem.filesystem:TableFormatLoadFilesystemJob": OWN_LAKE,
    "dlt.destinations.job_impl:FinalizedLoadJob": OWN_LAKE,
    "dlt.common.storages.load_package:PackageStorage": AGAIN,
    "dlt.sources.helpers.requests.session:Session": "dlt's HTTP session, under our retry",
}
SIGNATURES = {
    "dlt.common.destination.client:JobClientBase.prepare_load_table": "self table_name",
    "dlt.common.configuration.providers:CustomLoaderDocProvider.get_value": (
        "self key hint pipeline_name sections"
    ),
    "dlt.common.configuration.providers:EnvironProvider.get_value": (
        "self key hint pipeline_name sections"
    ),
    "dlt.common.destination:Destination.configuration": "self initial_config accept_partial",
    "dlt.common.destination:Destination.capabilities": "self config naming",
    "dlt.common.destination.utils:get_merge_changed_cond": "table source_alias target_alias escape_id",
    "dlt.destinations.impl.duckdb.duck:DuckDbClient.__init__": "self schema config capabilities",
    "dlt.destinations.impl.duckdb.duck:DuckDbClient.create_load_job": (
        "self table file_path load_id restore"
    ),
    "dlt.destinations.impl.duckdb.duck:DuckDbClient.update_stored_schema": (
        "self only_tables expected_update force"
    ),
    "dlt.destinations.impl.duckdb.duck:DuckDbClient.initialize_storage": "self truncate_tables",
    "dlt.destinations.impl.duckdb.duck:DuckDbClient.should_load_data_to_staging_dataset": (
        "self table_name"
    ),
    "dlt.destinations.impl.duckdb.duck:DuckDbClient._create_merge_followup_jobs": "self table_chain",
    "dlt.destinations.impl.duckdb.duck:DuckDbClient._make_add_column_sql": "self new_columns table",
    "dlt.destinations.impl.postgres.postgres:PostgresClient.initialize_storage": "self truncate_tables",
    "dlt.destinations.impl.postgres.postgres:PostgresClient.get_storage_tables": "self table_names",
    "dlt.destinations.impl.duckdb.sql_client:DuckDbSqlClient.catalog_name": "self quote casefold",
    "dlt.destinations.impl.duckdb.sql_client:DuckDbSqlClient.warn_if_catalog_equals_dataset_name": (
        "self"
    ),
    "dlt.destinations.impl.postgres.postgres:PostgresClient.create_load_job": (
        "self table file_path load_id restore"
    ),
    "dlt.destinations.impl.postgres.postgres:PostgresClient._execute_schema_update_sql": (
        "self only_tables store_schema"
    ),
    "dlt.destinations.impl.filesystem.filesystem:FilesystemClient.initialize_storage": (
        "self truncate_tables"
    ),
    "dlt.destinations.impl.filesystem.filesystem:FilesystemClient._write_to_json_file": (
        "self filepath data"
    ),
    "dlt.destinations.impl.filesystem.filesystem:FilesystemClient._list_dlt_table_files": (
        "self table_name pipeline_name"
    ),
    "dlt.pipeline.pipeline:Pipeline._get_normalize_storage": "self",
    "dlt.pipeline.pipeline:Pipeline.managed_state": "self extract_state",
}


def imported() -> set[str]:
    """What our code imports of dlt beyond its public modules."""
    names = set()
    for folder in ("sources/ges_backups", "pipelines/ges_history"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "dlt":
                    names |= {f"{node.module}:{alias.name}" for alias in node.names}
    return {name for name in names if name.split(":")[0] not in PUBLIC}


def test_the_list_is_what_is_used() -> None:
    assert imported() == set(INTERNALS)


@pytest.mark.parametrize("name", sorted(INTERNALS))
def test_each_is_there(name: str) -> None:
    module, attribute = name.split(":")
    assert hasattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize("name", sorted(SIGNATURES))
def test_each_takes_what_is_relied_on(name: str) -> None:
    module, attribute = name.split(":")
    found = importlib.import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    assert " ".join(inspect.signature(found).parameters) == SIGNATURES[name]


def test_a_job_knows_its_file_table_and_client() -> None:
    job = type("Job", (RunnableLoadJob,), {"run": lambda self: None})(
        "folder/backups.0123456789.0.parquet"
    )
    assert {"_file_path", "_load_table", "_job_client"} <= set(vars(job))


def test_a_package_keeps_its_jobs_and_schema_updates_where_they_are_moved() -> None:
    folders = ("NEW_JOBS_FOLDER", "COMPLETED_JOBS_FOLDER", "PENDING_TRANSITIONS_FOLDER")
    files = ("SCHEMA_UPDATES_FILE_NAME", "APPLIED_SCHEMA_UPDATES_FILE_NAME")
    assert all(isinstance(getattr(PackageStorage, name, None), str) for name in folders + files)
