"""What our SQL destinations of dlt have in common; each class stands before dlt's among the bases."""

from collections.abc import Iterable, Sequence
from typing import Any, cast

from dlt.common.destination import Destination
from dlt.common.destination.capabilities import DestinationCapabilitiesContext
from dlt.common.destination.client import FollowupJobRequest
from dlt.common.destination.typing import PreparedTableSchema
from dlt.common.normalizers.naming import NamingConvention
from dlt.common.schema.typing import TColumnSchema
from dlt.destinations.job_client_impl import SqlJobClientWithStagingDataset

from ges_backups.rows import unknown_columns
from ges_history.warehouses.only_missing import OnlyMissing


class ResolvedOnce(Destination[Any, Any]):
    """A destination whose configuration is resolved once: dlt asks for it some fifty times a load."""

    is_only_missing = False
    _resolved: Any = None

    def configuration(self, initial_config: Any, accept_partial: bool = False) -> Any:
        """dlt's own; what it has resolved before is answered as it is."""
        if initial_config is not None and initial_config.is_resolved():
            return initial_config
        return super().configuration(initial_config, accept_partial)

    def capabilities(
        self, config: Any = None, naming: NamingConvention | None = None
    ) -> DestinationCapabilitiesContext:
        """dlt's own, for the configuration that was resolved."""
        if config is None:
            if self._resolved is None:
                known = self.spec(credentials=self.config_params["credentials"])
                self._resolved = self.configuration(known, accept_partial=True)
            config = self._resolved
        return super().capabilities(config, naming)


def unknown_fields(table: str, columns: Iterable[str]) -> list[str]:
    """Those of a table's columns that fields have made which the source does not know."""
    return unknown_columns(columns) if table == "backups" else []


class MergesInPlace(OnlyMissing, SqlJobClientWithStagingDataset):
    """A client whose jobs merge their files straight into the tables, without a staging dataset."""

    def should_load_data_to_staging_dataset(self, table_name: str) -> bool:  # noqa: ARG002
        """No table needs it, so there is none."""
        return False

    def initialize_storage(self, truncate_tables: Iterable[str] | None = None) -> None:
        """dlt's own; no staging dataset is made to be emptied, as a setting may ask for."""
        if truncate_tables is None or set(truncate_tables):
            super().initialize_storage(truncate_tables)  # type: ignore[arg-type]

    def _make_add_column_sql(
        self, new_columns: Sequence[TColumnSchema], table: PreparedTableSchema | None = None
    ) -> list[str]:
        """dlt's own; in the rows that are there a new column is null, whatever the schema asks for."""
        nullable = [{**column, "nullable": True} for column in new_columns]
        return super()._make_add_column_sql(cast("list[TColumnSchema]", nullable), table)  # type: ignore[arg-type]

    def _create_merge_followup_jobs(
        self,
        table_chain: Sequence[PreparedTableSchema],  # noqa: ARG002
    ) -> list[FollowupJobRequest]:
        return []
