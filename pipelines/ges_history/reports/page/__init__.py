"""The page: one HTML file that shows the whole history, offline and after years.

`contents` reads the views, `fleet` arranges them graph by graph, `series` packs what the charts
draw, `charts` and `stills` are the charts and their pictures, `document` puts it together. The
template, its style and its script are files in `assets`.
"""

from pathlib import Path

from ges_history.reports.page.contents import read_contents
from ges_history.reports.page.document import render
from ges_history.reports.page.extra import require_extra
from ges_history.reports.page.output import write_privately

__all__ = ["write_page"]


def write_page(database: Path, path: Path) -> None:
    """Write the page of a history to `path`, whole or not at all, for its owner only.

    The database is given back before the page is built.

    Raises:
        HistoryError: the packages of the extra `page` are missing, or `path` cannot be written.
        DatabaseError: the database cannot be read.
    """
    require_extra()
    write_privately(path, render(read_contents(database)))
