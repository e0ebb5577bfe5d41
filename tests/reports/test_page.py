"""The page's text: hostile names stay text, and the file is private, whole and self-contained."""

import json
import os
import re
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import duckdb
import pytest

import ges_history
from ges_history.errors import DatabaseError, HistoryError
from ges_history.reports.attention import verdict
from ges_history.reports.overview import scope_of
from ges_history.reports.page import contents as reading
from ges_history.reports.page import page_text, write_page
from ges_history.reports.page.adherence import MET, MISSED, UNKNOWN
from ges_history.reports.page.arranged import arrange
from ges_history.reports.page.contents import Contents
from ges_history.reports.page.document import render
from ges_history.reports.page.series import forecast, marks, packed_graph, packed_stored
from ges_history.warehouses import warehouse_for
from hostile import write_hostile
from synthetic import DAY_MS, OTHER_PROJECT, PROJECT, insert_backups, write_database


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_database(tmp_path_factory.mktemp("fleet") / "fleet.duckdb", graphs=4, backups=300)


@pytest.fixture(scope="module")
def contents(fleet: Path) -> Contents:
    return read(fleet)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A history whose page is soon made."""
    return written(tmp_path_factory.mktemp("small") / "h.duckdb", daily("g", [10] * 3))


@pytest.fixture(scope="module")
def page(fleet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_page(warehouse_for(fleet), path)
    return path


def read(database: Path, **targets: Any) -> Contents:
    with warehouse_for(database).reading() as read:
        return reading.read_contents(read, **targets)


def written(path: Path, backups: Iterable[dict[str, Any]], *statements: str) -> Path:
    """A history of these backups, of graphs that were listed just now."""
    write_database(path, graphs=0, edge_cases=False)
    with duckdb.connect(str(path)) as connection:
        ((catalog,),) = connection.execute("SELECT current_database()").fetchall()
        insert_backups(connection, catalog, list(backups))
        connection.execute(
            "INSERT INTO ges.listings (project_id, graph_id, listed_at, outcome)"
            " SELECT DISTINCT project_id, graph_id, now(), 'complete' FROM ges.backups"
        )
        for statement in statements:
            connection.execute(statement)
    return path


def daily(graph: str, sizes: Iterable[int], *, last_day: int = 0) -> list[dict[str, Any]]:
    """A success a day, the last `last_day` days before an hour ago."""
    sizes = list(sizes)
    end = int(datetime.now(UTC).timestamp() * 1000) - 3_600_000 - last_day * DAY_MS
    return [
        {
            "id": f"{graph}-{n}",
            "graph_id": graph,
            "status": "success",
            "size": size,
            "duration": 60,
            "start_timestamp": end - (len(sizes) - 1 - n) * DAY_MS,
        }
        for n, size in enumerate(sizes)
    ]


class Elements(HTMLParser):
    """The names of all elements, the attributes' names, and the text of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names = list[str]()
        self.attributes = set[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes.update(name for name, _ in attrs)


def test_page_is_for_its_owner_only(page: Path) -> None:
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert [file.name for file in page.parent.iterdir()] == ["page.html"]


def test_page_replaces_an_older_one_whole(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")
    path.chmod(0o644)
    write_page(warehouse_for(small), path)
    assert path.read_text(encoding="utf-8").endswith("</html>")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_page_that_cannot_be_written_is_a_sentence(small: Path, tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match=r"missing.*cannot be written: No such file"):
        write_page(warehouse_for(small), tmp_path / "missing" / "page.html")
    (tmp_path / "folder").mkdir()
    with pytest.raises(HistoryError, match="cannot be written"):
        write_page(warehouse_for(small), tmp_path / "folder")
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]


def test_page_of_no_database_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="There is no database"):
        write_page(warehouse_for(tmp_path / "none.duckdb"), tmp_path / "page.html")


def environment_without(folder: Path, *missing: str) -> Path:
    """A Python that has what this one has, but these packages; nothing is downloaded."""
    site = folder / "site"
    site.mkdir()
    for entry in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if not entry.name.lower().startswith(missing) and entry.suffix != ".pth":
            (site / entry.name).symlink_to(entry)
    for source in ("pipelines", "sources"):
        for package in (Path(ges_history.__file__).parents[2] / source).iterdir():
            if (package / "__init__.py").exists() and not (site / package.name).exists():
                (site / package.name).symlink_to(package)
    return site


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        (("altair", "vl_convert"), "altair and vl-convert-python"),
        (("jinja2",), "jinja2"),
    ],
)
def test_page_without_its_packages_says_how_to_install_them(
    fleet: Path, tmp_path: Path, missing: tuple[str, ...], named: str
) -> None:
    site = environment_without(tmp_path, *missing)
    arguments = ["report", "--html", "page.html", "--database", str(fleet)]
    done = subprocess.run(
        [sys.executable, "-S", "-m", "ges_history", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    install = named.replace(" and", "")
    said = f"The page needs {named}, which this Python has not: pip install {install}"
    assert done.stderr.splitlines() == [f"ges-backups: {said}"]
    assert not (tmp_path / "page.html").exists()


def test_successes_without_a_size_are_not_told_as_none(tmp_path: Path) -> None:
    path = written(
        tmp_path / "h.duckdb", daily("g", [10] * 3), "UPDATE ges.backups SET size = NULL"
    )
    assert "No successful backup of a known size since" in render(read(path))


def test_page_names_nothing_to_fetch(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = Elements(text)
    assert not {"src", "srcset", "action"} & found.attributes
    assert set(re.findall(r'href="([^"#]*)', text)) <= {"", "data:,"}
    assert "url(" not in re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert "default-src &#39;none&#39;" in text
    assert found.names.count("script") == 3


def test_same_contents_give_the_same_page(tmp_path: Path) -> None:
    found = read(written(tmp_path / "h.duckdb", [*daily("a", [10] * 40), *daily("b", [20] * 40)]))
    text = render(found)
    assert text.count('<div class="still"') > 6
    assert text == render(found)


def test_hostile_texts_stay_text(tmp_path: Path) -> None:
    text = page_text(warehouse_for(write_hostile(tmp_path / "hostile.duckdb")))
    found = Elements(text)
    assert "onerror" not in found.attributes
    assert "img" not in found.names
    assert found.names.count("script") == 3
    assert "&lt;img src=x onerror=alert(2)&gt;&#34;&#39;&amp;{{7*7}}\ufffd\ufffd[31m" in text
    assert not set(text) & {"\u202e", "\x1b"}
    assert {"size jumped", "stuck"} <= set(re.findall(r"size jumped|stuck", text))


def test_script_data_is_json_that_cannot_end_its_element(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    packed = re.search(r'id="packed">(.*?)</script>', text, re.DOTALL)
    assert packed is not None
    assert "<" not in packed[1]
    assert len(json.loads(packed[1])["graphs"]) == text.count('<details class="card')


def test_calendars_show_no_weeks_that_were_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many graphs fewer weeks are read: what lies before is not known to be without a backup."""
    path = written(tmp_path / "h.duckdb", daily("g", [10] * 200))
    monkeypatch.setattr(reading, "POINT_BUDGET", 0)
    found = read(path)
    text = render(found)
    assert "All graphs, the last 13 weeks." in text
    assert "last 26 weeks" not in text
    packed = re.search(r'id="packed">(.*?)</script>', text, re.DOTALL)
    assert packed is not None
    first = (found.first_day - date(1970, 1, 1)).days
    assert set(json.loads(packed[1])["mondays"].values()) == {first}


def test_worst_graphs_come_first_and_deleted_ones_last(contents: Contents) -> None:
    graphs = arrange(contents)
    alarmed = [bool(graph.alarms) for graph in graphs]
    assert alarmed == sorted(alarmed, reverse=True)
    assert any(alarmed)
    weights = [sum(p.weight for p in graph.problems) for graph in graphs if graph.alarms]
    assert weights == sorted(weights, reverse=True)
    assert [graph.name for graph in graphs if graph.deleted] == [graphs[-1].name]
    assert [graph.place for graph in graphs] == list(range(len(graphs)))


def test_headline_list_and_views_have_one_count_of_what_needs_attention(
    contents: Contents, page: Path
) -> None:
    graphs = arrange(contents)
    alarmed = sum(bool(graph.alarms) for graph in graphs)
    text = page.read_text(encoding="utf-8")
    assert contents.fleet.totals["attention"] == alarmed > 0
    assert (
        f"<h1>{alarmed} of {sum(not g.deleted for g in graphs)} graphs need attention.</h1>" in text
    )
    assert f"Needs attention ({alarmed})" in text
    (section,) = re.findall(r'id="attention">(.*?)</section>', text, re.DOTALL)
    assert section.count('<tr><th scope="row">') == alarmed


def test_packed_series_are_the_views_rows(contents: Contents) -> None:
    graph = next(g for g in arrange(contents) if g.name == "graph-1")
    first, steps, sizes, means = packed_graph(graph, 10**6)["s"]
    assert graph.sizes is not None
    assert _summed([first, *(steps or [1] * (len(sizes) - 1))]) == graph.sizes["day"]
    assert [value / 10 for value in _summed(sizes)] == graph.sizes["size_mb"]
    assert [value / 10 for value in _summed(means)] == pytest.approx(
        graph.sizes["avg_7d_mb"], abs=0.06
    )
    assert len(marks(graph)) == len(graph.anomalies)


def test_stored_volume_is_that_of_each_day_of_each_graph(fleet: Path, contents: Contents) -> None:
    found = contents
    packed = packed_stored(found.stored)
    with duckdb.connect(str(fleet), read_only=True) as connection:
        backups = connection.execute(
            "SELECT project_id, graph_id, size, (started_at AT TIME ZONE 'UTC')::DATE,"
            " (deleted_at AT TIME ZONE 'UTC')::DATE FROM ges.backups WHERE status = 'success'"
        ).fetchall()
    totals = found.stored.total_mb
    for n, part in enumerate(found.stored.parts):
        values = [round(value / 10) for value in _summed(packed["parts"][n])]
        assert values == part.stored_mb
    for n in range(0, len(totals), 7):
        day = found.stored.first_day + timedelta(days=n)
        there = [b for b in backups if b[3] <= day and (b[4] is None or b[4] > day)]
        assert totals[n] == sum(size or 0 for _, _, size, _, _ in there)
        for part in found.stored.parts[:-1]:
            own = sum(b[2] or 0 for b in there if (b[0], b[1]) == part.key)
            assert part.stored_mb[n] == own
    assert len(found.stored.parts) == 7
    newest = [part.stored_mb[-1] for part in found.stored.parts[:-1]]
    assert newest == sorted(newest, reverse=True)


def test_the_curve_says_from_where_it_is_complete(tmp_path: Path) -> None:
    path = written(
        tmp_path / "h.duckdb",
        daily("g", [10] * 5),
        f"INSERT INTO ges.projects VALUES ('{PROJECT}', 'p', 'r', now() - INTERVAL 3 DAY, now(), NULL)",
    )
    found = read(path)
    since = datetime.now(UTC).date() - timedelta(days=3)
    assert found.stored.complete_since == since
    assert f"The curve is complete from the first load on, {since.day} {since:%b %Y}" in render(
        found
    )


def test_a_dropped_size_has_a_forecast_of_its_own_level(tmp_path: Path) -> None:
    sizes = [3000 + n % 7 for n in range(60)] + [640 + n % 5 for n in range(10)]
    (graph,) = arrange(read(written(tmp_path / "h.duckdb", daily("g", sizes))))
    today = (datetime.now(UTC).date() - date(1970, 1, 1)).days
    assert [day - today for day, *_ in forecast(graph, today)] == [0, 30, 90]
    assert all(500 < low <= at <= high < 900 for _, at, low, high in forecast(graph, today)[:2])
    assert [problem.label for problem in graph.alarms] == ["size dropped"]
    since = datetime.now(UTC) - timedelta(hours=1, days=9)
    assert f"since {since.day} {since:%b %Y}" in graph.alarms[0].sentence


def test_a_lasting_drop_leaves_the_list_when_it_is_the_new_normal(tmp_path: Path) -> None:
    sizes = [3000 + n % 7 for n in range(40)]
    for after, expected in ((30, ["size dropped"]), (31, [])):
        backups = daily("g", [*sizes, *(640 + n % 5 for n in range(after))])
        (graph,) = arrange(read(written(tmp_path / f"after{after}.duckdb", backups)))
        assert [problem.label for problem in graph.alarms] == expected


def test_no_forecast_where_there_is_none(tmp_path: Path) -> None:
    gone = (
        "INSERT INTO ges.graphs (id, project_id, name, deleted_at)"
        f" VALUES ('gone', '{PROJECT}', 'gone', now())"
    )
    backups = [*daily("two", [10, 20]), *daily("gone", [10, 20, 30, 40])]
    found = read(written(tmp_path / "h.duckdb", backups, gone))
    graphs = arrange(found)
    assert {graph.name: forecast(graph, 20_000) for graph in graphs} == {"two": [], "gone": []}
    text = render(found)
    assert "and 1 deleted since, which hold 4 backups at the source, 100 MB" in text
    assert "Growth and forecast</h2>" not in text
    assert "In 30 days" not in text
    assert "forecast in 90 days" not in text


def test_a_forecast_counts_from_today_and_says_how_old_the_newest_backup_is(tmp_path: Path) -> None:
    path = written(tmp_path / "h.duckdb", daily("g", range(100, 400, 10), last_day=12))
    found = read(path)
    (graph,) = arrange(found)
    today = (found.fleet.as_of.date() - date(1970, 1, 1)).days
    points = forecast(graph, today)
    age = today - (graph.growth["last_day"] - date(1970, 1, 1)).days  # type: ignore[index]
    assert age in (12, 13)
    assert points[0][:2] == (today, pytest.approx(390 + 10 * age, abs=0.2))
    assert points[2][:2] == (today + 90, pytest.approx(390 + 10 * (age + 90), abs=0.2))
    assert f"from today, though the newest backup is {age} days old" in render(found)


def test_a_stale_load_is_the_first_alarm_and_graphs_are_as_of_then(tmp_path: Path) -> None:
    path = written(
        tmp_path / "h.duckdb",
        [b for n in range(6) for b in daily(f"g{n}", [10] * 20, last_day=5)],
        "UPDATE ges.listings SET listed_at = now() - INTERVAL '5 days 20 minutes'",
    )
    found = read(path)
    text = render(found)
    (alarm,) = re.findall(r'<p class="alarm" role="alert">(.*?)</p>', text)
    assert alarm == "No load for 5 days; nothing newer is known."
    assert text.index(alarm) < text.index('class="headline"')
    assert verdict(arrange(found)) == "All graphs are in order."
    assert found.fleet.totals["overdue"] == 0


def test_stamps_ahead_of_the_clock_are_told(tmp_path: Path) -> None:
    path = written(tmp_path / "h.duckdb", daily("g", [10] * 9, last_day=-2))
    ahead = re.search(
        r"The source&#39;s clock is ([\dh min]+) ahead", page_text(warehouse_for(path))
    )
    assert ahead is not None
    assert ahead[1] in ("46 h 59 min", "47 h")


def test_graphs_without_any_backup_are_the_worst_news(tmp_path: Path) -> None:
    path = written(
        tmp_path / "h.duckdb",
        [],
        f"""INSERT INTO ges.graphs (id, project_id, name)
        SELECT 'g' || n, '{PROJECT}', 'graph ' || n FROM range(3) t (n)""",
        f"INSERT INTO ges.projects VALUES ('{PROJECT}', 'p', 'r', now(), now(), NULL)",
    )
    text = page_text(warehouse_for(path))
    assert "3 of 3 graphs need attention." in text
    assert '<dt>Without any success</dt><dd class="value">3</dd>' in text
    assert text.count("no successful backup yet") == 3


def test_page_of_an_empty_history_says_so(tmp_path: Path) -> None:
    database = write_database(tmp_path / "empty.duckdb", graphs=0, edge_cases=False)
    text = page_text(warehouse_for(database))
    assert "No graph is known yet." in text
    assert "Last load never" in text
    assert "Nothing is stored." in text


def test_days_on_target_are_those_between_successes(tmp_path: Path) -> None:
    skipped = {3, 4, 10}
    backups = [b for n, b in enumerate(reversed(daily("g", [10] * 40))) if n not in skipped]
    (graph,) = arrange(read(written(tmp_path / "h.duckdb", backups)))
    found = graph.adherence
    assert found is not None
    assert found.target_hours == 48
    starts = sorted(b["start_timestamp"] / 3_600_000 for b in backups)
    now = datetime.now(UTC).timestamp() / 3600
    for place, age in enumerate(found.ages):
        begins = 24 * (found.first_day + place)
        ends = min(begins + 24, now)
        ages = [
            min(following, ends) - start
            for start, following in zip(starts, [*starts[1:], now], strict=True)
            if start < ends and following >= begins
        ]
        assert age == pytest.approx(max(ages), abs=0.1)
        assert found.verdict(place) == (MET if max(ages) <= 48 else MISSED)
    missed = sum(found.verdict(n) == MISSED for n in range(len(found.ages)))
    assert missed == 1 or missed == 2
    assert found.shares[1] == pytest.approx(1 - missed / len(found.ages))


def test_a_policys_target_comes_before_the_rhythm(tmp_path: Path) -> None:
    path = written(tmp_path / "h.duckdb", [*daily("a", [10] * 30), *daily("b", [10] * 30)])
    graphs = {g.name: g for g in arrange(read(path, targets={(PROJECT, "a"): 12.0}))}
    assert graphs["a"].adherence.shares[0] < 0.1  # type: ignore[union-attr, operator]
    assert graphs["b"].adherence.shares[0] == 1.0  # type: ignore[union-attr]
    text = page_text(warehouse_for(path), targets={(PROJECT, "a"): 12.0})
    (section,) = re.findall(r'id="objectives">(.*?)</section>', text, re.DOTALL)
    assert section.index(">a</bdi>") < section.index(">b</bdi>")
    assert 'class="missed"' in section


def test_a_graph_without_a_rhythm_has_no_verdict(tmp_path: Path) -> None:
    (graph,) = arrange(read(written(tmp_path / "h.duckdb", daily("g", [10]))))
    assert graph.adherence is not None
    assert {graph.adherence.verdict(n) for n in range(len(graph.adherence.ages))} == {UNKNOWN}
    assert graph.adherence.shares == (None, None, None)


def test_periods_that_still_run_are_marked(tmp_path: Path) -> None:
    found = read(written(tmp_path / "h.duckdb", daily("g", [10] * 40)))
    (graph,) = arrange(found)
    newest = datetime.now(UTC) - timedelta(hours=1)
    today = datetime.now(UTC).date()
    assert packed_graph(graph, 20_000)["p"] == (newest.date() >= today - timedelta(today.weekday()))
    assert f"{newest:%b %Y} so far" in render(found)


def test_a_page_can_be_of_some_projects(tmp_path: Path) -> None:
    other = [b | {"project_id": OTHER_PROJECT} for b in daily("b", [7] * 5)]
    path = written(
        tmp_path / "h.duckdb",
        [*daily("a", [10] * 5), *other],
        f"""INSERT INTO ges.projects VALUES ('{PROJECT}', 'orders', 'eu-1', now(), now(), NULL),
        ('{OTHER_PROJECT}', 'risk', 'eu-2', now(), now(), NULL)""",
    )
    warehouse = warehouse_for(path)
    whole, one = page_text(warehouse), page_text(warehouse, regions=["eu-2"])
    texts = (">orders<", ">risk<", "Projects</h2>", ">b</bdi>", ">a</bdi>")
    assert [text in whole for text in texts] == [True] * 5
    assert [text in one for text in texts] == [False, False, False, True, False]
    with warehouse.reading() as reader:
        found = reading.read_contents(reader, scope_of(reader, ["risk"]))
    assert [part.name for part in found.stored.parts] == ["b"]
    assert found.stored.total_mb[-1] == found.fleet.totals["stored_mb"] == 35
    assert [graph.name for graph in arrange(found)] == ["b"]


@pytest.mark.parametrize(
    ("graphs", "weeks"), [(0, 104), (1, 104), (500, 42), (1000, 21), (9999, 13)]
)
def test_many_graphs_shorten_the_window(graphs: int, weeks: int) -> None:
    assert reading.window_weeks(graphs) == weeks


def _summed(steps: list[int]) -> list[int]:
    return [sum(steps[: n + 1]) for n in range(len(steps))]
