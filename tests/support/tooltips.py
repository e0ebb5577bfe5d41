"""What a chart says when a mark of it is pointed at."""

from datetime import date, datetime

from playwright.sync_api import Locator, Page, expect


def tip_at(page: Page, mark: Locator, across: float = 0.5) -> dict[str, str]:
    """{label: text} of the tooltip of Vega, with the pointer on a mark, so far across it."""
    mark.scroll_into_view_if_needed()
    box = mark.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * across - 2, box["y"] + box["height"] / 2)
    page.mouse.move(box["x"] + box["width"] * across, box["y"] + box["height"] / 2)
    tip = page.locator("#vg-tooltip-element")
    expect(tip).to_be_visible()
    rows = tip.locator("tr").all()
    cells = [row.locator("td").all_inner_texts() for row in rows]
    found = {label.removesuffix(":"): text for label, text in cells}
    page.mouse.move(0, 0)
    assert "undefined" not in str(found)
    assert all(found.values()), found
    return found


def day_of(text: str) -> date:
    """The day that a tooltip says: 3 Nov 2026 or Nov 3, 2026."""
    for form in ("%d %b %Y", "%b %d, %Y", "%Y-%m-%d"):
        try:
            return datetime.strptime(text.replace("Sept", "Sep"), form).date()
        except ValueError:
            continue
    raise AssertionError(text)
