"""Seconds that each report takes over 1,000,000 backups of 1,000 graphs, read whole into Arrow.

Run as `python tests/benchmarks/reports.py [backups] [graphs]`.
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from ges_history import connect
from ges_history.reports.overview import read_fleet
from ges_history.reports.views import report_names
from synthetic import write_database

ROUNDS = 3


def main(backups: int = 1_000_000, graphs: int = 1_000) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_database(Path(folder) / "fleet.duckdb", graphs=graphs, backups=backups)
        print(f"{backups:,} backups of {graphs:,} graphs, {path.stat().st_size / 1e6:,.0f} MB")
        with connect(path) as history:
            for threads in (1, 2):
                history.execute(f"SET threads = {threads}")
                print(
                    f"\n{'report':16}{'rows':>10}{'seconds':>9}   ({threads} thread{'s'[: threads - 1]})"
                )
                for report in report_names():
                    rows, seconds = 0, []
                    for _ in range(ROUNDS):
                        start = time.perf_counter()
                        rows = history.sql(f"FROM reports.{report}").to_arrow_table().num_rows
                        seconds.append(time.perf_counter() - start)
                    print(f"{report:16}{rows:>10,}{min(seconds):>9.2f}")
                start = time.perf_counter()
                read_fleet(history)
                print(f"{'fleet screen':16}{'':>10}{time.perf_counter() - start:>9.2f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
