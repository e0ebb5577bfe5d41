"""Commands that make no DataFrame do without pandas."""

import sys
from importlib.abc import MetaPathFinder


class _NoPandas(MetaPathFinder):
    """Answers that there is no pandas."""

    def find_spec(
        self,
        fullname: str,
        path: object = None,  # noqa: ARG002
        target: object = None,  # noqa: ARG002
    ) -> None:
        """Refuse pandas, know nothing of the rest."""
        if fullname == "pandas":
            raise ModuleNotFoundError(fullname)


def hide_pandas_from_pyarrow() -> None:
    """Keep pyarrow from importing pandas at the first Python value: 0.2 s and 50 MB for nothing.

    It asks once in a process; this process makes no DataFrame.
    """
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        import pyarrow as pa  # noqa: PLC0415

        pa.scalar(0)
    finally:
        sys.meta_path.remove(finder)
