"""The page in a real browser: drawn without a network, on any width, with or without scripts."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from browser import CHROMIUM, NO_BROWSER, Visit, chromium, visit
from ges_history.reports.page import write_page
from ges_history.warehouses import warehouse_for
from hostile import write_hostile
from synthetic import write_database

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")
    path = folder / "fleet.duckdb"
    database = write_database(path, graphs=20, backups=1_000, edge_cases=False)  # all with charts
    write_page(warehouse_for(database), folder / "page.html")
    return (folder / "page.html").as_uri()


@pytest.fixture(scope="module")
def window(browser: Browser, address: str) -> Iterator[Visit]:
    with visit(browser, address) as found:
        yield found


@pytest.fixture
def opened(window: Visit, address: str) -> Visit:
    window.again(address)
    return window


def test_charts_are_drawn_without_any_network(opened: Visit) -> None:
    page = opened.page
    for card in page.locator("details.card[open]").all():
        card.scroll_into_view_if_needed()
    with_sizes = page.locator("details.card[open]:has(figure[data-chart=size])").first
    for kind in ("size", "duration", "calendar"):
        chart = with_sizes.locator(f"figure[data-chart={kind}]")
        chart.scroll_into_view_if_needed()
        expect(chart.locator(".live svg path").first).to_be_visible()
        assert chart.locator(".live svg path").count() > 4
        expect(chart.locator(".still")).to_be_hidden()
    assert opened.requests == []
    assert opened.complaints == []


def test_finding_another_graph_shows_other_figures(opened: Visit) -> None:
    page = opened.page
    figures = []
    for name in ("graph-1", "graph-2"):
        page.locator("#find").fill(name)
        card = page.locator(f'details.card:visible:has(.name:text-is("{name}"))')
        if card.get_attribute("open") is None:
            # Not by a click, which may miss it while charts are drawn above.
            card.locator("summary").press("Enter")
        chart = card.locator("figure[data-chart=size] .live svg")
        card.locator("figure[data-chart=size]").scroll_into_view_if_needed()
        expect(chart.locator("path").first).to_be_visible()
        figures.append((card.locator(".facts").inner_text(), chart.inner_html()))
    assert figures[0][0] != figures[1][0]
    assert figures[0][1] != figures[1][1]
    assert opened.complaints == []


def test_a_link_opens_its_graph(opened: Visit) -> None:
    page = opened.page
    folded = page.locator("details.card:not([open])").last
    place = folded.get_attribute("id")
    page.evaluate("place => { location.hash = place; }", place)
    expect(page.locator(f"#{place}")).to_have_attribute("open", "")
    expect(page.locator(f"#{place} .facts")).to_be_in_viewport()


def test_the_window_changes_the_charts(opened: Visit) -> None:
    page = opened.page
    page.locator("#find").fill("g0-0")  # found by its id, alone, and so unfolded
    chart = page.locator("details.card:visible figure[data-chart=size]")
    chart.scroll_into_view_if_needed()
    expect(chart.locator(".live svg path").first).to_be_visible()
    before = chart.locator(".live").inner_html()
    page.locator("#window").select_option("5")
    page.wait_for_function(
        "([chart, before]) => chart.querySelector('.live svg')"
        " && chart.querySelector('.live').innerHTML !== before",
        arg=[chart.element_handle(), before],
    )
    assert opened.complaints == []


def test_order_and_choice_rearrange_the_list(opened: Visit) -> None:
    page = opened.page
    page.locator("#order").select_option("name")
    names = page.locator("details.card h3 .name").all_inner_texts()
    assert names == sorted(names, key=str.casefold)
    page.locator("#show").select_option("attention")
    shown = page.locator("details.card:visible")
    assert 0 < shown.count() < len(names)
    assert shown.locator(".badge.bad").count() >= shown.count()
    assert page.locator("#attention-title").inner_text() == f"Needs attention ({shown.count()})"


@pytest.mark.parametrize("width", [320, 390, 768, 1440])
def test_nothing_scrolls_sideways(window: Visit, address: str, width: int) -> None:
    window.again(address, width=width)
    page = window.page
    page.locator("details.card figure[data-chart=size]").first.scroll_into_view_if_needed()
    expect(page.locator("details.card .live svg").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_on_a_phone_the_calendar_is_drawn_as_wide_as_it_can_be_read(
    window: Visit, address: str
) -> None:
    for width, weeks in ((390, 26), (1240, 52)):
        window.again(address, width=width)
        calendar = window.page.locator("#fleet-calendar")
        calendar.scroll_into_view_if_needed()
        cells = calendar.locator(".live svg .mark-rect.role-mark path")
        expect(cells.first).to_be_attached()
        assert 7 * (weeks - 1) < cells.count() <= 7 * weeks
        box = cells.first.bounding_box()
        assert box is not None
        assert box["width"] >= 8
        hint = window.page.get_by_text("Drawn: the last 26 weeks.")
        expect(hint).to_be_visible(visible=weeks == 26)


def test_a_printed_page_shows_every_graph(opened: Visit, tmp_path: Path) -> None:
    page = opened.page
    cards = page.locator("details.card").count()
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details.card > summary:visible").count() == cards
    with_charts = page.locator("details.card figure[data-chart=calendar]:visible").count()
    assert with_charts == 12 < cards
    said = page.locator(".on-paper").inner_text()
    assert f"12 graphs have their charts; the other {cards - 12} are a line each" in said
    expect(page.locator("#controls")).to_be_hidden()
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.locator("details.card[open]").count() == 6
    paper = page.pdf(path=tmp_path / "page.pdf", format="A4")
    sheets = len(re.findall(rb"/Type /Page\b", paper))
    assert 8 < sheets < 25


def test_without_scripts_the_still_pictures_are_there(browser: Browser, address: str) -> None:
    with visit(browser, address, scripts=False) as found:
        card = found.page.locator("details.card[open]:has(figure[data-chart=size])").first
        for kind in ("size", "duration", "calendar"):
            picture = card.locator(f"figure[data-chart={kind}] .still svg")
            expect(picture).to_be_visible()
            assert picture.locator("path").count() > 4
        expect(found.page.locator("#controls")).to_be_hidden()


def test_dark_and_light_colour_the_same_charts(window: Visit, address: str) -> None:
    colours = []
    for dark in (False, True):
        window.again(address, dark=dark)
        chart = window.page.locator("details.card[open] figure[data-chart=size]").first
        chart.scroll_into_view_if_needed()
        line = chart.locator(".live path[stroke*='chart-1']").first
        line.wait_for(state="attached")
        colours.append(line.evaluate("line => getComputedStyle(line).stroke"))
    assert colours == ["rgb(31, 111, 181)", "rgb(98, 174, 240)"]


def test_hostile_names_do_nothing(window: Visit, tmp_path: Path) -> None:
    write_page(warehouse_for(write_hostile(tmp_path / "hostile.duckdb")), tmp_path / "page.html")
    window.again((tmp_path / "page.html").as_uri())
    page = window.page
    page.locator("#find").fill("onerror")
    chart = page.locator("details.card:visible figure[data-chart=size]")
    chart.scroll_into_view_if_needed()
    expect(chart.locator(".live svg path").first).to_be_visible()
    expect(page.locator("h3 .name")).to_contain_text("<img src=x onerror=alert(2)>")
    assert (window.complaints, window.requests) == ([], [])
