"""Pointing at a chart of the page shows the figures that the views have, for every kind of chart."""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, expect

from browser import CHROMIUM, NO_BROWSER, Visit, chromium, visit
from ges_history.reports import words
from ges_history.reports.page import write_page
from ges_history.warehouses import warehouse_for
from hostile import HOSTILE, write_hostile
from synthetic import write_database
from tooltips import day_of, tip_at

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER),
]
ACROSS = (0.31, 0.62, 0.93)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tips") / "fleet.duckdb"
    return write_database(path, graphs=12, backups=1_500)


@pytest.fixture(scope="module")
def opened(browser: Browser, database: Path) -> Iterator[Visit]:
    path = database.with_suffix(".html")
    write_page(warehouse_for(database), path)
    with visit(browser, path.as_uri()) as found:
        yield found


def rows(database: Path, sql: str, *values: Any) -> list[dict[str, Any]]:
    return list(warehouse_for(database).read(sql, *values).to_pylist())


def chart(opened: Visit, kind: str, graph: str | None = None) -> Locator:
    """A chart, drawn; of a graph, which is found by its id."""
    page = opened.page
    found = page.locator(f"figure[data-chart={kind}]")
    if graph is not None:
        page.locator("#find").fill(graph)
        found = page.locator(f"details.card:visible figure[data-chart={kind}]")
    found = found.first
    found.scroll_into_view_if_needed()
    expect(found.locator(".live svg path").first).to_be_attached()
    return found


def plot(found: Locator) -> Locator:
    """The area between the axes."""
    return found.locator(".live svg g.root > g > path.background").first


def test_size_chart(opened: Visit, database: Path) -> None:
    found = chart(opened, "size", "g0-0")
    days = {
        row["day"]: row
        for row in rows(database, "SELECT * FROM reports.size_trend WHERE graph_id = 'g0-0'")
    }
    seen = set()
    for across in (0.1, 0.3, 0.5):
        tip = tip_at(opened.page, plot(found), across)
        row = days[day_of(tip["Day"])]
        assert tip["Size"] == words.size(row["size_mb"])
        assert tip["7-day mean"] == words.size(round(row["avg_7d_mb"], 1))
        seen.add(row["day"])
    assert len(seen) == 3


def test_forecast_of_the_size_chart(opened: Visit, database: Path) -> None:
    found = chart(opened, "size", "g0-0")
    (row,) = rows(database, "SELECT * FROM reports.growth WHERE graph_id = 'g0-0'")
    today = rows(database, "SELECT CURRENT_DATE AS today")[0]["today"]
    tip = tip_at(opened.page, plot(found), 0.98)
    assert day_of(tip["Forecast"]) == today + timedelta(days=90)
    late = (today - row["last_day"]).days
    ahead = row["projected_90d_mb"] + late * row["mb_per_day"]
    a_half_goes_up = 0.01  # in the browser, and to the even number in Python
    assert tip["Size"] == words.size(round(max(ahead, 0), 1) + a_half_goes_up)
    if late == 0:
        low, high = (round(max(row[name], 0), 1) for name in ("low_90d_mb", "high_90d_mb"))
        assert tip["95 % between"] == f"{words.size(low)} and {words.size(high)}"


def test_duration_chart(opened: Visit, database: Path) -> None:
    found = chart(opened, "duration", "g0-0")
    weeks = {
        row["week"]: row
        for row in rows(database, "SELECT * FROM reports.duration_trend WHERE graph_id = 'g0-0'")
    }
    for across in ACROSS:
        tip = tip_at(opened.page, plot(found), across)
        row = weeks[day_of(tip.get("Week from") or tip["Week so far, from"])]
        assert ("Week so far, from" in tip) == row["is_partial"]
        assert tip["Median"] == words.seconds(round(row["p50_duration_s"], 1))
        assert tip["95 % within"] == words.seconds(round(row["p95_duration_s"], 1))


OUTCOMES = """SELECT CAST(started_at AT TIME ZONE 'UTC' AS DATE) AS day,
    COUNT(CASE WHEN status = 'success' THEN 1 END) AS succeeded,
    COUNT(CASE WHEN status = 'failed' THEN 1 END) AS failed
FROM ges.backups WHERE {} GROUP BY 1"""


@pytest.mark.parametrize("graph", ["fleet", "g0-2"])
def test_calendars(graph: str, opened: Visit, database: Path) -> None:
    if graph == "fleet":
        found, where = chart(opened, "calendar"), "true"
        assert found.get_attribute("data-graph") == "fleet"
    else:
        found, where = chart(opened, "calendar", graph), f"graph_id = '{graph}'"
    days = {row["day"]: row for row in rows(database, OUTCOMES.format(where))}
    cells = found.locator(".live svg .mark-rect.role-mark path")
    for place in (30, 100, cells.count() - 1):
        tip = tip_at(opened.page, cells.nth(place))
        day = day_of(tip.get("Day") or tip["Today, so far"])
        row = days.get(day, {"succeeded": 0, "failed": 0})
        assert (tip["Succeeded"], tip["Failed"]) == (str(row["succeeded"]), str(row["failed"]))
    assert "Today, so far" in tip


def stored_on(database: Path, day: date) -> dict[str, int]:
    sql = """SELECT graph_id, graph_name, arg_max(stored_mb, day) AS stored_mb
    FROM reports.storage_trend WHERE day <= ? GROUP BY ALL"""
    return {row["graph_name"]: row["stored_mb"] for row in rows(database, sql, day)}


def test_chart_of_stored_volume(opened: Visit, database: Path) -> None:
    found = chart(opened, "stored")
    for across in (0.3, 0.5, 0.65):
        tip = tip_at(opened.page, plot(found), across)
        stored = stored_on(database, day_of(tip["Day"]))
        assert tip["Stored"] == words.size(sum(stored.values()))
        parts = {label[3:]: text for label, text in tip.items() if label[:1].isdigit()}
        assert len(parts) == 7
        for name in list(parts)[:6]:
            assert parts[name] == words.size(stored.get(name, 0))
    (total,) = rows(database, "SELECT SUM(projected_90d_mb) AS mb FROM reports.overview")
    tip = tip_at(opened.page, plot(found), 0.99)
    assert tip["Stored"] == words.size(round(total["mb"]))


def test_strips_of_days_on_target(opened: Visit, database: Path) -> None:
    page = opened.page
    name = "graph-1"
    named = page.locator(f'.name:text-is("{name}")')
    strip = page.locator("#objectives tr").filter(has=named).locator("svg.strip")
    ages = {
        row["day"]: row["oldest_age_hours"]
        for row in rows(database, "SELECT * FROM reports.adherence WHERE graph_name = ?", name)
    }
    (gap,) = rows(
        database, "SELECT usual_gap_hours FROM reports.recovery_point WHERE graph_name = ?", name
    )
    strip.scroll_into_view_if_needed()
    box = strip.bounding_box()
    assert box is not None
    for across in (0.9, 0.97):
        page.mouse.move(box["x"] + box["width"] * across, box["y"] + box["height"] / 2)
        lines = page.locator(".tip").inner_text().splitlines()
        day = day_of(lines[0].removeprefix("Day "))
        assert lines[1] == f"Last success, at most {words.hours(round(ages[day], 1))} old"
        assert lines[2] == f"Target {words.hours(2 * gap['usual_gap_hours'])}"


def test_hostile_names_stay_text_in_tooltips(browser: Browser, tmp_path: Path) -> None:
    write_page(warehouse_for(write_hostile(tmp_path / "h.duckdb")), tmp_path / "h.html")
    with visit(browser, (tmp_path / "h.html").as_uri()) as found:
        tip = tip_at(found.page, plot(chart(found, "stored")), 0.1)
        shown = f"1. {words.plain(HOSTILE)}"
        assert any(shown in label for label in tip)
        assert found.page.locator("#vg-tooltip-element img").count() == 0
        assert (found.complaints, found.requests) == ([], [])
