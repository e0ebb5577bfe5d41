"""The reports computed a second time, in pandas and plain Python, straight from their definitions.

Nothing here shares code with the views. Frames are small, so clarity comes before speed; what one
report needs of another is computed once for a history.
"""

import itertools
from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache
from typing import Any

import duckdb
import numpy as np
import pandas as pd

KEYS = ["project_id", "graph_id"]
READ = [*KEYS, "id", "graph_name", "backup_method", "status", "size", "duration"]
READ += ["start_timestamp", "deleted_at"]
"""The columns of backups that reports say something of."""
HOUR = pd.Timedelta(hours=1)

once = lru_cache(maxsize=1)
"""For a report that others need: a module of tests reads one history after the other."""


def read_at(listing: Any) -> pd.Timestamp:
    """When a listing last brought all that was there."""
    return listing.last_complete_at if pd.isna(listing.last_read_at) else listing.last_read_at


class History:
    """The tables of a database, and the instant at which they were read."""

    def __init__(self, database: str) -> None:
        with duckdb.connect(database, read_only=True) as connection:
            catalog = connection.execute("SELECT current_database()").fetchone()[0]
            connection.execute("SET TimeZone = 'UTC'")
            self.backups, self.graphs, self.listings, self.projects, self.rejected = (
                connection.sql(f'FROM "{catalog}".ges.{table}').to_arrow_table().to_pandas()
                for table in ("backups", "graphs", "listings", "projects", "rejected_backups")
            )
        self.now = pd.Timestamp.now("UTC")
        self.backups = self.backups[READ].sort_values(["start_timestamp", "id"])
        self.backups["started_at"] = pd.to_datetime(
            self.backups["start_timestamp"], unit="ms", utc=True
        )
        self.successes = self.backups[self.backups["status"] == "success"]
        self.names = self._names()
        self.gone = set(
            self.graphs.dropna(subset=["deleted_at"])[["project_id", "id"]].itertuples(
                index=False, name=None
            )
        )
        self.project_names = {project: project for project, _ in self.names} | {
            row.id: row.name if isinstance(row.name, str) else row.id
            for row in self.projects.itertuples(index=False)
        }
        self.loaded_at = self._loaded_at()

    def _loaded_at(self) -> dict[str, pd.Timestamp]:
        times: dict[str, pd.Timestamp] = {}
        for project, at in [
            *zip(self.listings["project_id"], self.listings["listed_at"], strict=True),
            *zip(self.projects["id"], self.projects["last_listed_at"], strict=True),
        ]:
            times[project] = max(times.get(project, at), at)
        return times

    def known_until(self, key: tuple[str, str]) -> pd.Timestamp | None:
        """When the graph was last read well, or its newest backup began."""
        listings = [*self._listings(key), *self._listings((key[0], "*"))]
        times = [read_at(row) for row in listings]
        if not listings and key[0] in self.loaded_at:
            times.append(self.loaded_at[key[0]])
        if key in self.backups_of:
            times.append(min(self.backups_of[key]["started_at"].iloc[-1], self.now))
        return max((at for at in times if not pd.isna(at)), default=None)

    def _listings(self, key: tuple[str, str]) -> list[Any]:
        return self._listings_of.get(key, [])

    @cached_property
    def _listings_of(self) -> dict[tuple[str, str], list[Any]]:
        return {key: list(group.itertuples()) for key, group in self.listings.groupby(KEYS)}

    @cached_property
    def backups_of(self) -> dict[tuple[str, str], pd.DataFrame]:
        """The backups of each graph that has any."""
        return dict(iter(self.backups.groupby(KEYS)))

    def latest_listing(self, key: tuple[str, str]) -> Any:
        """The graph's own listing, or that of its whole project where it is later."""
        whole = [] if key in self.gone else self._listings((key[0], "*"))
        found = [*self._listings(key), *whole]
        return max(found, key=lambda row: row.listed_at, default=None)

    def last_read_at(self, key: tuple[str, str]) -> pd.Timestamp:
        """When a listing last brought what the graph holds."""
        whole = [] if key in self.gone else self._listings((key[0], "*"))
        times = [read_at(row) for row in [*self._listings(key), *whole]]
        return max((at for at in times if not pd.isna(at)), default=pd.NaT)

    def _names(self) -> dict[tuple[str, str], str]:
        names = {}
        for frame in (self.listings[self.listings["graph_id"] != "*"], self.backups):
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
        """Rows with the names of graph and project added."""
        for row in rows:
            row["graph_name"] = self.names[row["project_id"], row["graph_id"]]
            row["project_name"] = self.project_names[row["project_id"]]
        return pd.DataFrame(rows)


def _per(frame: pd.DataFrame, *more: str) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    columns = [*KEYS, *more]
    for key, group in frame.groupby(columns, dropna=False, sort=False):
        yield dict(zip(columns, key, strict=True)), group


def _with_period(frame: pd.DataFrame, name: str, offset: Callable[[pd.Series], pd.Series]):
    days = frame["started_at"].dt.tz_localize(None).dt.normalize()
    return frame.assign(**{name: offset(days)})


def _is_partial(history: History, key: dict[str, Any], days: int) -> bool:
    begin = key["week"] if "week" in key else key["month"]
    end = (begin + pd.Timedelta(days=days)).tz_localize("UTC")
    return bool(end > history.loaded_at.get(key["project_id"], history.now))


@once
def size_trend(history: History) -> pd.DataFrame:
    rows = []
    dated = _with_period(history.successes, "day", lambda days: days)
    for key, graph in _per(dated):
        series: dict[int, float] = {}
        previous = np.nan
        for day, sizes in graph.groupby("day")["size"]:
            size = sizes.iloc[-1]
            series[day.toordinal()] = size
            days = range(day.toordinal() - 6, day.toordinal() + 1)
            week = [series[d] for d in days if d in series and not np.isnan(series[d])]
            change = size - previous
            rows.append(
                key
                | {
                    "day": day,
                    "backups": len(sizes),
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
        size, duration = (group[name].to_numpy(float) for name in ("size", "duration"))
        known = duration[~np.isnan(duration)]
        both = ~np.isnan(size) & ~np.isnan(duration)
        seconds = duration[both].sum()
        rows.append(
            key
            | {
                "backups": len(group),
                "p50_duration_s": np.percentile(known, 50) if len(known) else np.nan,
                "p95_duration_s": np.percentile(known, 95) if len(known) else np.nan,
                "max_duration_s": max(known, default=np.nan),
                "mb_per_s": size[both].sum() / seconds if seconds else np.nan,
                "is_partial": _is_partial(history, key, 7),
            }
        )
    return history.frame(rows)


def storage_trend(history: History) -> pd.DataFrame:
    rows = []
    for key, graph in _per(history.successes):
        sizes = graph["size"].fillna(0).to_numpy(float)
        began, ended = (
            graph[column].dt.tz_localize(None).to_numpy("datetime64[D]")
            for column in ("started_at", "deleted_at")
        )
        ended = np.where(np.isnat(ended), ended, np.maximum(began, ended))
        for day in sorted(set(began) | set(ended[~np.isnat(ended)])):
            here = (began <= day) & ~(ended <= day)
            rows.append(
                key
                | {
                    "day": pd.Timestamp(day),
                    "backups": here.sum(),
                    "stored_mb": sizes[here].sum(),
                    "added_mb": sizes[began == day].sum(),
                    "removed_mb": sizes[ended == day].sum(),
                }
            )
    return history.frame(rows)


def _last_level(values: list[float]) -> tuple[int, float, float] | None:
    """The place of the last point that begins a new level, and the medians before and after."""
    for place in range(len(values) - 3, 0, -1):
        before, after = values[max(place - 7, 0) : place], values[place : place + 7]
        old, new = np.median(before), np.median(after)
        spread = max(
            1.4826 * np.median(np.abs(np.array(before) - old)),
            1.4826 * np.median(np.abs(np.array(after) - new)),
            0.01 * old,
            1,
        )
        nearer = abs(values[place] - new) < abs(values[place] - old)
        other = abs(values[place - 1] - new) >= abs(values[place - 1] - old)
        step = abs(new - old)
        if step >= 0.2 * old and step >= 5 * spread and nearer and other:
            return place, old, new
    return None


def _line(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    slope, level = np.polyfit(x, y, 1)
    residuals = ((y - slope * x - level) ** 2).sum()
    found = {
        "mb_per_day": slope,
        "r2": 1.0 if np.ptp(y) == 0 else 1 - residuals / ((y - y.mean()) ** 2).sum(),
    }
    error = np.sqrt(residuals / (len(x) - 2))
    for days in (30, 90):
        far = (days - x.mean()) ** 2 / ((x - x.mean()) ** 2).sum()
        at, bound = level + slope * days, 1.96 * error * np.sqrt(1 + 1 / len(x) + far)
        found[f"projected_{days}d_mb"] = at
        found[f"low_{days}d_mb"], found[f"high_{days}d_mb"] = at - bound, at + bound
    return found


FITTED = ["mb_per_day", "r2"] + [
    f"{name}_{days}d_mb" for name in ("projected", "low", "high") for days in (30, 90)
]


@once
def growth(history: History) -> pd.DataFrame:
    rows = []
    successes = dict(iter(history.successes.groupby(KEYS)))
    for key, graph in _per(size_trend(history).dropna(subset=["size_mb"])):
        good = successes[tuple(key.values())]
        recent = graph.sort_values("day").tail(97)
        last = recent["day"].iloc[-1]
        change = _last_level(recent["size_mb"].tolist())
        kept = recent.iloc[change[0] :] if change else recent
        window = kept[kept["day"] > last - pd.Timedelta(days=90)]
        x = (window["day"] - last).dt.days.to_numpy(float)
        y = window["size_mb"].to_numpy(float)
        since = (good["started_at"] >= kept["day"].iloc[0].tz_localize("UTC")).sum()
        rows.append(
            key
            | {
                "points": len(window),
                "first_day": window["day"].iloc[0],
                "last_day": last,
                "last_size_mb": y[-1],
            }
            | (_line(x, y) if len(x) >= 3 else dict.fromkeys(FITTED, np.nan))
            | {
                "level_since": kept["day"].iloc[0] if change else pd.NaT,
                "level_before_mb": change[1] if change else np.nan,
                "level_mb": change[2] if change else np.nan,
                "level_change_pct": (
                    (change[2] / change[1] - 1) * 100 if change and change[1] else np.nan
                ),
                "level_backups": since if change else np.nan,
                "is_new_level": bool(since <= 30) if change else None,
            }
        )
    return history.frame(rows)


def gaps(history: History) -> list[dict[str, Any]]:
    """Every time without a new success: ends are None while it is open."""
    found = []
    for key in history.names:
        mine = history.backups_of.get(key, history.backups[:0])
        good = mine[mine["status"] == "success"]
        bounds = [(row.started_at, row.id) for row in good.itertuples()]
        if len(mine) and (not bounds or mine["started_at"].iloc[0] < bounds[0][0]):
            bounds.insert(0, (mine["started_at"].iloc[0], None))
        for place, (began, before) in enumerate(bounds):
            ended, after = bounds[place + 1] if place + 1 < len(bounds) else (None, None)
            found.append(
                {
                    "project_id": key[0],
                    "graph_id": key[1],
                    "began_at": began,
                    "ended_at": ended,
                    "gap_hours": ((ended or history.known_until(key)) - began) / HOUR,
                    "backup_before": before,
                    "backup_after": after,
                }
            )
    return found


def _hours(at: pd.Timestamp) -> float:
    return at.timestamp() / 3600


def adherence(history: History) -> pd.DataFrame:
    rows = []
    per_graph: dict[tuple[str, str], list[tuple[float, float, bool]]] = {}
    for gap in gaps(history):
        ended = np.inf if gap["ended_at"] is None else _hours(gap["ended_at"])
        per_graph.setdefault((gap["project_id"], gap["graph_id"]), []).append(
            (_hours(gap["began_at"]), ended, gap["backup_before"] is not None)
        )
    for key in history.names:
        last = history.known_until(key)
        if last is None:
            continue
        until, mine = _hours(last.round("ms")), per_graph.get(key, [])
        first = min([until, *(began for began, _, _ in mine)])
        for day in np.arange(first // 24 * 24, until + 1e-9, 24):
            touching = [
                (began, until if ended == np.inf else ended)
                for began, ended, _ in mine
                if began < day + 24 and ended > day
            ]
            ages = [min(end, day + 24, until) - begin for begin, end in touching]
            rows.append(
                {
                    "project_id": key[0],
                    "graph_id": key[1],
                    "day": pd.Timestamp(day * 3600, unit="s"),
                    "successes": sum(after and day <= at < day + 24 for at, _, after in mine),
                    "longest_gap_hours": max(
                        (end - begin for begin, end in touching), default=np.nan
                    ),
                    "oldest_age_hours": max(ages, default=np.nan),
                }
            )
    return history.frame(rows)


def overview(history: History) -> pd.DataFrame:
    recovery, health, open_ones = (
        report(history) for report in (recovery_point, load_health, running)
    )
    unusual, grown = anomalies(history), growth(history)
    rows = []
    month, week = (history.now - pd.Timedelta(days=days) for days in (30, 7))
    gone = history.gone
    for project in sorted(set(history.project_names)):
        here, listed, going, odd, sizes, kept = (
            frame[frame["project_id"] == project]
            for frame in (recovery, health, open_ones, unusual, grown, history.backups)
        )

        def living(frame: pd.DataFrame) -> pd.DataFrame:
            keys = list(zip(frame["project_id"], frame["graph_id"], strict=True))
            return frame[np.array([key not in gone for key in keys], dtype=bool)]

        late = living(here)
        late = late[late["overdue"].eq(True)]
        never = living(here)
        never = never[(never["successes"] == 0) & never["known_until"].notna()]
        broken = listed[~listed["outcome"].isin(["complete", "incremental"])]
        stuck = going[going["stuck"].eq(True)]
        levels = living(sizes[sizes["is_new_level"].eq(True)])
        drops = levels[levels["level_mb"] < levels["level_before_mb"]]
        wanting = pd.concat([late, never, living(broken), living(stuck), drops])
        loaded = history.loaded_at.get(project)
        since = None if loaded is None else loaded.floor("D") - pd.Timedelta(days=29)
        good = kept[kept["status"] == "success"]
        there = kept[kept["deleted_at"].isna()]
        recent = kept[kept["started_at"] > month]
        ok, bad = ((recent["status"] == status).sum() for status in ("success", "failed"))
        in_month = good if since is None else good[good["started_at"] >= since]
        in_month = (
            in_month
            if loaded is None
            else in_month[in_month["started_at"] < loaded.floor("D") + pd.Timedelta(days=1)]
        )
        added = 0 if since is None else in_month["size"].sum()
        removed = 0 if since is None else good[good["deleted_at"] >= since]["size"].sum()
        usual = here["usual_gap_hours"].median()
        limit = 48 if np.isnan(usual) else min(max(2 * usual, 6), 48)
        age = np.nan if loaded is None else (history.now - loaded) / HOUR
        about = history.projects[history.projects["id"] == project]
        refused = history.rejected[history.rejected["project_id"] == project]
        rows.append(
            {
                "project_id": project,
                "project_name": history.project_names[project],
                "region": about["region"].iloc[0] if len(about) else None,
                "graphs": len(here),
                "graphs_at_source": len(living(here)),
                "attention": len(set(wanting["graph_id"])),
                "overdue": len(late),
                "never_succeeded": len(never),
                "running": len(going),
                "stuck": len(stuck),
                "failed_listings": len(living(broken)),
                "anomalies_7d": (odd["started_at"] > week).sum(),
                "new_levels": len(levels),
                "rejected_30d": (refused["first_seen_at"] > month).sum(),
                "backups_kept": len(kept),
                "backups_at_source": len(there),
                "stored_mb": there["size"].sum(),
                "deleted_mb": kept["size"].sum() - there["size"].sum(),
                "added_30d_mb": added,
                "removed_30d_mb": removed,
                "growth_mb_per_day": (added - removed) / 30,
                "projected_30d_mb": max(there["size"].sum() + added - removed, 0),
                "projected_90d_mb": max(there["size"].sum() + 3 * (added - removed), 0),
                "succeeded_30d": ok,
                "failed_30d": bad,
                "success_rate_30d": ok / (ok + bad) if ok + bad else np.nan,
                "first_listed_at": about["first_listed_at"].iloc[0] if len(about) else pd.NaT,
                "loaded_at": pd.NaT if loaded is None else loaded,
                "load_age_hours": age,
                "stale_after_hours": limit,
                "stale": None if np.isnan(age) else bool(age > limit),
            }
        )
    return pd.DataFrame(rows)


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
                "is_partial": _is_partial(history, key, key["month"].days_in_month),
            }
        )
    return history.frame(rows)


@once
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
        given = (168 if np.isnan(usual) else 2 * usual) if starts else np.nan
        until = history.known_until(key)
        known = (until.round("ms") - starts[-1]) / HOUR if starts and until is not None else np.nan
        rows.append(
            {
                "project_id": key[0],
                "graph_id": key[1],
                "last_success_at": starts[-1] if starts else pd.NaT,
                "rpo_age_hours": age,
                "usual_gap_hours": usual,
                "longest_gap_hours": max(recent, default=np.nan),
                "overdue_after_hours": given,
                "overdue": None if np.isnan(known) else bool(known > given),
                "successes": len(starts),
                "graph_deleted_at": gone.get(key, pd.NaT),
                "known_until": pd.NaT if until is None else until,
                "age_when_known_hours": known,
            }
        )
    return history.frame(rows)


@once
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
    gone = history.graphs.set_index(["project_id", "id"])["deleted_at"].to_dict()
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
                "graph_deleted_at": gone.get((key["project_id"], key["graph_id"]), pd.NaT),
            }
        )
    return history.frame(rows)


@once
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
        until = history.known_until((row.project_id, row.graph_id))
        seen = np.nan if until is None else (until - row.started_at).total_seconds()
        rows.append(
            {
                "project_id": row.project_id,
                "graph_id": row.graph_id,
                "backup_id": row.id,
                "started_at": row.started_at,
                "elapsed_s": elapsed,
                "p95_duration_s": p95,
                "stuck": None if np.isnan(p95) else bool(seen > 3 * p95),
            }
        )
    return history.frame(rows)


@once
def load_health(history: History) -> pd.DataFrame:
    rows = []
    for key in history.names:
        row = history.latest_listing(key)
        if row is None:
            continue
        rows.append(
            {
                "project_id": key[0],
                "graph_id": key[1],
                "listed_at": row.listed_at,
                "outcome": row.outcome,
                "error_code": row.error_code,
                "last_complete_at": row.last_complete_at,
                "stale_hours": (history.now - history.last_read_at(key)) / HOUR,
            }
        )
    return history.frame(rows)


REPORTS: dict[str, Callable[[History], pd.DataFrame]] = {
    "adherence": adherence,
    "anomalies": anomalies,
    "duration_trend": duration_trend,
    "growth": growth,
    "inventory": inventory,
    "load_health": load_health,
    "overview": overview,
    "recovery_point": recovery_point,
    "reliability": reliability,
    "running": running,
    "size_trend": size_trend,
    "storage_trend": storage_trend,
}
