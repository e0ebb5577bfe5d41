"""Backups of graphs that are not listed by themselves any more; the project's listing still has them.

Where each graph is listed by itself, a deleted one would be lost from sight with the backups that
it left, which cost storage on. Once per full-listing interval the project's listing is asked for
them. Nothing depends on it: where it is refused, the load is as complete as it was.
"""

import json
import time
from collections import Counter
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from .client import GesClient
from .graph import PROJECT_WIDE, GraphListing, ListingOptions
from .known import Known
from .pool import GraphPool

GONE = ("missing", "forbidden")
"""Outcomes after which a graph that has left its project's list is not asked for any more."""


@dataclass
class Followed:
    """The graphs that a load lists by themselves.

    Attributes:
        ids: Theirs.
        count: How many backups they list together; None where one of them did not tell.
        rejected: Hashes of their records that do not fit, whatever graph these name: no other's.
        hidden: Graphs that were forbidden when they were last asked for by themselves: a project's
            list that does not hold their backups either is no evidence that they have gone.
    """

    ids: set[str] = field(default_factory=set)
    count: int | None = 0
    rejected: set[int] = field(default_factory=set)
    hidden: set[str] = field(default_factory=set)

    @property
    def unmarked(self) -> set[str]:
        """The graphs whose backups the project's list cannot mark."""
        return self.ids | self.hidden

    def add(self, listing: GraphListing) -> None:
        """Count a graph in."""
        self.ids.add(listing.graph_id)
        self.rejected |= {hash(record.record) for record in listing.rejected}
        if self.count is None or listing.backup_count is None or listing.error is not None:
            self.count = None
        else:
            self.count += listing.backup_count


@dataclass(frozen=True)
class Asked:
    """When the project's listing was last asked for what deleted graphs have left: its cursor.

    Attributes:
        at: Epoch seconds, None where it never was.
        outcome: What came of it: ``complete``, ``incremental`` (its first page told enough),
            ``missing``, ``forbidden`` or ``failed``.
    """

    at: float | None = None
    outcome: str | None = None

    @classmethod
    def from_json(cls, text: str | None) -> "Asked":
        """Parse what `to_json` gave; what is no such thing was never asked."""
        try:
            known = json.loads(text or "{}")
            return cls(float(known["deleted_graphs_asked_at"]), known["deleted_graphs_outcome"])
        except (ValueError, TypeError, KeyError):
            return cls()

    def to_json(self) -> str | None:
        """As the project's row keeps it."""
        if self.at is None:
            return None
        return json.dumps(
            {"deleted_graphs_asked_at": self.at, "deleted_graphs_outcome": self.outcome}
        )

    def is_due(self, options: ListingOptions) -> bool:
        """Whether it is to be asked again, whatever came of it the last time."""
        if options.window:
            return False
        age = None if self.at is None else time.time() - self.at
        return options.full or age is None or not 0 <= age < options.full_listing_seconds


def list_unlisted(
    client: GesClient,
    project_id: str,
    options: ListingOptions,
    concurrency: int,
    known: Known,
    followed: Followed,
) -> GraphListing:
    """What the project lists beside the backups of the followed graphs.

    One request, where it lists no more than these do, and the warehouse holds nothing of another
    graph that could have gone.
    """
    enough = None if _holds_others(known, followed) else followed.count
    pool = GraphPool(
        client.within(client.request_seconds / 4),
        project_id,
        replace(options, is_extra=True, enough=enough),
        concurrency,
    )
    (listing,) = pool.iter_listings([PROJECT_WIDE], {})
    rows, listed = listing.rows, listing.listed_ids
    if rows is not None:
        of_followed = pc.is_in(rows.column("graph_id"), pa.array(followed.ids, pa.string()))
        if listed is not None:
            listed = _without(listed, rows.filter(of_followed).column("id").to_pylist())
        rows = rows.filter(pc.invert(of_followed))
    return replace(
        listing,
        rows=rows if rows is not None and len(rows) else None,
        listed_ids=listed,
        rejected=[
            record
            for record in listing.rejected
            if record.graph_id is not None
            and record.graph_id not in followed.ids
            and hash(record.record) not in followed.rejected
        ],
    )


def _without(listed: list[str], ids: list[str]) -> list[str]:
    """A list without these ids, but for those that stand in it more than once: for another graph, too."""
    others = Counter(listed)
    others.subtract(ids)
    return [one for one, times in others.items() if times > 0]


def _holds_others(known: Known, followed: Followed) -> bool:
    """Whether the warehouse holds backups that are not marked and that the project's list could mark."""
    others = known.backups_of(sorted(known.holding - followed.unmarked))
    return not pc.all(others.column("is_marked"), min_count=0).as_py()
