"""The page: one HTML file that shows the whole history, offline and after years.

`contents` reads the views, `arranged` sorts them graph by graph, `series` packs what the charts
draw, `charts` and `stills` are the charts and their pictures, `document` puts it together. The
template, its style and its script are files in `assets`.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from ges_history.reports.page.extra import require_extra
from ges_history.warehouses.seam import Warehouse
from ges_history.whole_file import FOR_ITS_OWNER, write_whole

__all__ = ["page_text", "write_page"]


def page_text(
    warehouse: Warehouse,
    *,
    projects: Iterable[str] = (),
    regions: Iterable[str] = (),
    targets: Mapping[tuple[str, str], float] | None = None,
    wait: float = 0.0,
) -> str:
    """The page of a history; the warehouse is given back before it is built.

    Args:
        warehouse: Where the history is.
        projects: Names or ids of projects; default: all.
        regions: Their regions; default: all.
        targets: {(project_id, graph_id): hours}, recovery point objectives; a graph without one
            is held to twice its usual gap.
        wait: Seconds to wait for a load that holds the warehouse.

    Raises:
        HistoryError: Packages that the page is made with are missing, or no such project.
        DatabaseError: The warehouse cannot be read.
    """
    require_extra()
    from ges_history.reports.overview import scope_of  # noqa: PLC0415 - they need those packages
    from ges_history.reports.page.contents import read_contents  # noqa: PLC0415
    from ges_history.reports.page.document import render  # noqa: PLC0415

    with warehouse.reading(wait) as read:
        contents = read_contents(read, scope_of(read, projects, regions), targets)
    return render(contents)


def write_page(
    warehouse: Warehouse,
    path: Path,
    *,
    projects: Iterable[str] = (),
    regions: Iterable[str] = (),
    targets: Mapping[tuple[str, str], float] | None = None,
    wait: float = 0.0,
) -> None:
    """Write the page to `path`, whole or not at all, for its owner only; see `page_text`.

    Raises:
        HistoryError: Also where `path` cannot be written.
    """
    text = page_text(warehouse, projects=projects, regions=regions, targets=targets, wait=wait)
    write_whole(path, text.encode(), FOR_ITS_OWNER)
