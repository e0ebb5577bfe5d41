"""A destination of dlt whose configuration is resolved once: dlt asks for it some fifty times a load."""

from typing import Any

from dlt.common.destination import Destination
from dlt.common.destination.capabilities import DestinationCapabilitiesContext
from dlt.common.normalizers.naming import NamingConvention


class ResolvedOnce(Destination[Any, Any]):
    """Stands before dlt's destination among the bases of a class."""

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
