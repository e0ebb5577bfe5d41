"""The views' rows arranged graph by graph, the worst graph first."""

from dataclasses import dataclass
from datetime import date
from functools import cached_property

from ges_history.reports.attention import Judged, judge, many_each, one_each
from ges_history.reports.overview import RECENT_DAYS, Row
from ges_history.reports.page.adherence import Adherence
from ges_history.reports.page.contents import Contents

EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Graph(Judged):
    """All that the views say about one graph."""

    place: int
    """Its number on the page, from 0, the worst first."""
    growth: Row | None
    inventory: list[Row]
    months: list[Row]
    running: list[Row]
    health: Row | None
    anomalies: list[Row]
    sizes: Row | None
    durations: Row | None
    outcomes: Row | None
    adherence: Adherence | None

    @cached_property
    def kept(self) -> tuple[int, int, int]:
        """Backups at the source, their MB, and the backups that have left it."""
        return (
            sum(row["backups"] for row in self.inventory),
            sum(row["size_mb"] for row in self.inventory),
            sum(row["deleted"] for row in self.inventory),
        )

    @property
    def forecast(self) -> Row | None:
        """Its row of `growth` where that holds a forecast; a deleted graph has none."""
        if self.growth is None or self.growth["low_90d_mb"] is None or self.deleted:
            return None
        return self.growth


def arrange(contents: Contents) -> list[Graph]:
    """One `Graph` for each that the history knows, the worst first, deleted ones last."""
    fleet = contents.fleet
    today = (fleet.as_of.date() - EPOCH).days
    failures = {
        key: _recent_failures(row, today - RECENT_DAYS) for key, row in contents.outcomes.items()
    }
    growth, health = one_each(fleet.growth), one_each(fleet.health)
    inventory, months = many_each(contents.inventory), many_each(contents.reliability)
    running, anomalies = many_each(fleet.running), many_each(fleet.anomalies)
    return [
        Graph(
            recovery=judged.recovery,
            problems=judged.problems,
            place=place,
            growth=growth.get(judged.key),
            inventory=inventory[judged.key],
            months=months[judged.key],
            running=running[judged.key],
            health=health.get(judged.key),
            anomalies=anomalies[judged.key],
            sizes=contents.sizes.get(judged.key),
            durations=contents.durations.get(judged.key),
            outcomes=contents.outcomes.get(judged.key),
            adherence=contents.adherence.get(judged.key),
        )
        for place, judged in enumerate(judge(fleet, failures))
    ]


def _recent_failures(outcomes: Row, since: int) -> tuple[int, int]:
    """Failed and ended backups after the day `since`."""
    days = zip(outcomes["day"], outcomes["failed"], outcomes["succeeded"], strict=True)
    recent = [(failed, failed + succeeded) for day, failed, succeeded in days if day > since]
    return sum(failed for failed, _ in recent), sum(ended for _, ended in recent)
