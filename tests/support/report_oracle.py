"""The reports computed a second time, in pandas and plain Python, straight from their definitions.

Nothing here shares code with the views. Frames are small, so clarity comes before speed.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import numpy as np
import pandas as pd

KEYS = ["project_id", "graph_id"]
HOUR = pd.Timedelta(hours=1)


class History:
    """The tables of a database, and the instant at which they were read."""

    def __init__(self, database: str) -> None:
        with duckdb.connect(database, read_only=True) as connection:
            catalog = connection.execute("SELECT current_database()").fetchone()[0]
            connection.execute("SET TimeZone = 'UTC'")
            self.backups, self.graphs, self.listings = (
                connection.sql(f'FROM "{catalog}".ges.{table}').to_arrow_table().to_pandas()
                for table in ("backups", "graphs", "listings")
            )
        self.now = pd.Timestamp.now("UTC")
        self.backups = self.backups.sort_values(["start_timestamp", "id"])
        self.backups["started_at"] = pd.to_datetime(
            self.backups["start_timestamp"], unit="ms", utc=True
        )
        self.successes = self.backups[self.backups["status"] == "success"]
        self.names = self._names()

    def _names(self) -> dict[tuple[str, str], str]:
        names = {}
        for frame in (self.listings, self.backups):
            names.update(
                {key: key[1] for key in zip(frame.project_id, frame.graph_id, strict=True)}
            )
        for row in self.backups.itertuples():  # oldest to newest
            if isinstance(row.graph_name, str):
                names[row.project_id, row.graph_id] = row.graph_name
        for row in self.graphs.itertuples():
            known = names.get((row.project_id, row.id), row.id)
            names[row.project_id, row.id] = row.name if isinstance(row.name, str) else known
        return names

    def frame(self, rows: list[dict[str, Any]]) -> pd.DataFrame:
        """Rows with the graph's name added."""
        for row in rows:
            row["graph_name"] = self.names[row["project_id"], row["graph_id"]]
        return pd.DataFrame(rows)


def _per(frame: pd.DataFrame, *more: str) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    columns = [*KEYS, *more]
    for key, group in frame.groupby(columns, dropna=False, sort=False):
        yield dict(zip(columns, key, strict=True)), group


def _with_period(frame: pd.DataFrame, name: str, offset: Callable[[pd.Series], pd.Series]):
    days = frame["started_at"].dt.tz_localize(None).dt.normalize()
    return frame.assign(**{name: offset(days)})


def size_trend(history: History) -> pd.DataFrame:
    rows = []
    dated = _with_period(history.successes, "day", lambda days: days)
    for key, graph in _per(dated):
        series: dict[pd.Timestamp, float] = {}
        previous = np.nan
        for day, group in graph.groupby("day"):
            size = group["size"].iloc[-1]
            series[day] = size
            week = [v for d, v in series.items() if (day - d).days <= 6 and not np.isnan(v)]
            change = size - previous
            rows.append(
                key
                | {
                    "day": day,
                    "backups": len(group),
                    "size_mb": size,
                    "previous_size_mb": previous,
                    "change_mb": change,
                    "change_pct": change / previous * 100 if previous else np.nan,
                    "avg_7d_mb": np.mean(week) if week else np.nan,
                }
            )
            previous = size
    return history.frame(rows)


def duration_trend(history: History) -> pd.DataFrame:
    rows = []
    dated = _with_period(
        history.successes,
        "week",
        lambda days: days - pd.to_timedelta(days.dt.day_of_week, unit="D"),
    )
    for key, group in _per(dated, "week"):
        known = group["duration"].dropna()
        both = group.dropna(subset=["size", "duration"])
        seconds = both["duration"].sum()
        rows.append(
            key
            | {
                "backups": len(group),
                "p50_duration_s": np.percentile(known, 50) if len(known) else np.nan,
                "p95_duration_s": np.percentile(known, 95) if len(known) else np.nan,
                "max_duration_s": known.max(),
                "mb_per_s": both["size"].sum() / seconds if seconds else np.nan,
            }
        )
    return history.frame(rows)


def growth(history: History) -> pd.DataFrame:
    rows = []
    for key, graph in _per(size_trend(history).dropna(subset=["size_mb"])):
        last = graph["day"].max()
        window = graph[graph["day"] > last - pd.Timedelta(days=90)].sort_values("day")
        fit = dict.fromkeys(("mb_per_day", "r2", "projected_30d_mb", "projected_90d_mb"), np.nan)
        if len(window) >= 3:
            x = (window["day"] - last).dt.days.to_numpy(float)
            y = window["size_mb"].to_numpy(float)
            slope, level = np.polyfit(x, y, 1)
            flat = np.allclose(y, y[0])
            residual = ((y - slope * x - level) ** 2).sum()
            fit = {
                "mb_per_day": slope,
                "r2": 1.0 if flat else 1 - residual / ((y - y.mean()) ** 2).sum(),
                "projected_30d_mb": level + 30 * slope,
                "projected_90d_mb": level + 90 * slope,
            }
        rows.append(
            key
            | {
                "points": len(window),
                "first_day": window["day"].iloc[0],
                "last_day": last,
                "last_size_mb": window["size_mb"].iloc[-1],
            }
            | fit
        )
    return history.frame(rows)


def reliability(history: History) -> pd.DataFrame:
    rows = []
    dated = _with_period(
        history.backups, "month", lambda days: days - pd.to_timedelta(days.dt.day - 1, unit="D")
    )
    for key, group in _per(dated, "month"):
        streak = longest = 0
        for status in group["status"]:
            streak = 0 if status == "success" else streak + (status == "failed")
            longest = max(longest, streak)
        succeeded = (group["status"] == "success").sum()
        failed = (group["status"] == "failed").sum()
        ended = succeeded + failed
        rows.append(
            key
            | {
                "backups": len(group),
                "succeeded": succeeded,
                "failed": failed,
                "success_rate": succeeded / ended if ended else np.nan,
                "longest_failure_streak": longest,
            }
        )
    return history.frame(rows)


def recovery_point(history: History) -> pd.DataFrame:
    per_graph = {tuple(key.values()): group for key, group in _per(history.successes)}
    gone = history.graphs.set_index(["project_id", "id"])["deleted_at"].to_dict()
    rows = []
    for key in history.names:
        starts = list(per_graph[key]["started_at"]) if key in per_graph else []
        gaps = [(b - a) / HOUR for a, b in itertools.pairwise(starts)]
        recent = (
            [
                gap
                for gap, end in zip(gaps, starts[1:], strict=True)
                if end > history.now - pd.Timedelta(days=90)
            ]
            if starts
            else []
        )
        usual = np.median(gaps[-29:]) if gaps else np.nan
        age = (history.now - starts[-1]) / HOUR if starts else np.nan
        rows.append(
            {
                "project_id": key[0],
                "graph_id": key[1],
                "last_success_at": starts[-1] if starts else pd.NaT,
                "rpo_age_hours": age,
                "usual_gap_hours": usual,
                "longest_gap_hours": max(recent, default=np.nan),
                "overdue": None if np.isnan(usual) else bool(age > 2 * usual),
                "successes": len(starts),
                "graph_deleted_at": gone.get(key, pd.NaT),
            }
        )
    return history.frame(rows)


def anomalies(history: History) -> pd.DataFrame:
    rows = []
    for key, graph in _per(history.successes):
        for column in ("size", "duration"):
            values = graph[column].to_numpy(float)
            for place, value in enumerate(values):
                before = values[max(place - 30, 0) : place]
                before = before[~np.isnan(before)]
                if len(before) < 8 or np.isnan(value):
                    continue
                expected = np.median(before)
                difference = value - expected
                mad = np.median(np.abs(before - expected))
                deviation = difference / max(1.4826 * mad, 0.01 * expected, 1)
                kind = "size_jump" if difference > 0 else "size_drop"
                if column == "duration":
                    kind = "slow"
                    difference = max(difference, 0)
                if abs(deviation) > 5 and abs(difference) > 0.2 * expected:
                    rows.append(
                        key
                        | {
                            "backup_id": graph["id"].iloc[place],
                            "started_at": graph["started_at"].iloc[place],
                            "kind": kind,
                            "value": value,
                            "expected": expected,
                            "deviation": deviation,
                            "change_pct": difference / expected * 100 if expected else np.nan,
                        }
                    )
    return history.frame(rows)


def inventory(history: History) -> pd.DataFrame:
    rows = []
    for key, group in _per(history.backups, "backup_method"):
        kept = group[group["deleted_at"].isna()]
        left = group.dropna(subset=["deleted_at"])
        lifetimes = (left["deleted_at"] - left["started_at"]) / pd.Timedelta(days=1)
        rows.append(
            key
            | {
                "backups": len(kept),
                "size_mb": kept["size"].sum(),
                "oldest_at": kept["started_at"].min(),
                "newest_at": kept["started_at"].max(),
                "deleted": len(left),
                "median_lifetime_days": lifetimes.median(),
            }
        )
    return history.frame(rows)


def running(history: History) -> pd.DataFrame:
    rows = []
    durations = {tuple(k.values()): g["duration"].dropna() for k, g in _per(history.successes)}
    open_ones = history.backups[
        (history.backups["status"] == "backing_up") & history.backups["deleted_at"].isna()
    ]
    for row in open_ones.itertuples():
        known = durations.get((row.project_id, row.graph_id), pd.Series(dtype=float))
        p95 = np.percentile(known, 95) if len(known) else np.nan
        elapsed = (history.now - row.started_at).total_seconds()
        rows.append(
            {
                "project_id": row.project_id,
                "graph_id": row.graph_id,
                "backup_id": row.id,
                "started_at": row.started_at,
                "elapsed_s": elapsed,
                "p95_duration_s": p95,
                "stuck": None if np.isnan(p95) else bool(elapsed > 3 * p95),
            }
        )
    return history.frame(rows)


def load_health(history: History) -> pd.DataFrame:
    rows = []
    for row in history.listings.itertuples():
        read_well = row.outcome in ("complete", "incremental")
        last_read = row.listed_at if read_well else row.last_complete_at
        rows.append(
            {
                "project_id": row.project_id,
                "graph_id": row.graph_id,
                "listed_at": row.listed_at,
                "outcome": row.outcome,
                "error_code": row.error_code,
                "last_complete_at": row.last_complete_at,
                "stale_hours": (history.now - last_read) / HOUR,
            }
        )
    return history.frame(rows)


REPORTS: dict[str, Callable[[History], pd.DataFrame]] = {
    "anomalies": anomalies,
    "duration_trend": duration_trend,
    "growth": growth,
    "inventory": inventory,
    "load_health": load_health,
    "recovery_point": recovery_point,
    "reliability": reliability,
    "running": running,
    "size_trend": size_trend,
}
