"""``ges-backups forget``: take a project out of the history that came into it by mistake."""

from pathlib import Path
from typing import Any

import click

from ges_history.commands import options
from ges_history.errors import HistoryError

KNOWN = """
SELECT n.project_id, COALESCE(p.name, n.project_id) AS name,
    (SELECT count(*) FROM ges.backups b WHERE b.project_id = n.project_id) AS backups,
    (SELECT count(*) FROM ges.graphs g WHERE g.project_id = n.project_id) AS graphs
FROM (
    SELECT id AS project_id FROM ges.projects UNION SELECT project_id FROM ges.listings
    UNION SELECT project_id FROM ges.backups UNION SELECT project_id FROM ges.graphs
) n
LEFT JOIN ges.projects p ON p.id = n.project_id
ORDER BY 2
"""


@click.command()
@click.argument("project")
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.database
@options.destination
@options.wait
def forget(project: str, yes: bool, database: Path, destination: str, wait: float) -> None:
    """Remove PROJECT, by id or name, from the history; never anything at the source.

    What the API no longer lists is lost with it. Take the project out of the settings as well, or
    the next load lists it again.
    """
    from ges_history.warehouses import warehouse_for  # noqa: PLC0415

    def say(line: str) -> None:
        click.echo(line, err=True)

    warehouse = warehouse_for(database, destination)
    with warehouse.reading(wait, say) as read:
        known = read(KNOWN).to_pylist()
    found = _find(project, known)
    click.echo(
        f"{found['name']} ({found['project_id']}): {found['graphs']:,} graphs and "
        f"{found['backups']:,} backups will be removed from {warehouse.name}. "
        "Nothing changes at the source."
    )
    if not yes and not _is_sure():
        raise HistoryError("Nothing was removed. Where nobody can be asked, give --yes.")
    with warehouse.lock(found["project_id"], wait, say):
        gone = warehouse.forget(found["project_id"], wait, say)
    click.echo("removed " + ", ".join(f"{count:,} {table}" for table, count in gone.items()))


def _is_sure() -> bool:
    try:
        return click.confirm("Remove them?")
    except click.Abort:  # nobody is there
        return False


def _find(project: str, known: list[dict[str, Any]]) -> dict[str, Any]:
    found = [one for one in known if project in (one["project_id"], one["name"])]
    if len(found) == 1:
        return found[0]
    names = ", ".join(one["name"] for one in known) or "none"
    if found:
        raise HistoryError(f"Several projects are called {project!r}: give the id.")
    raise HistoryError(f"The history knows no project {project!r}; there is {names}.")
