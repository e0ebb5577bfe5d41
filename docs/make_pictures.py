"""Make the pictures of the README: the page and the notebook over the demo's data.

Run by `make pictures`; needs Chromium. The pictures go to docs/pictures.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from playwright.sync_api import Browser  # noqa: E402

from browser import chromium, visit  # noqa: E402
from ges_history.reports.page import write_page  # noqa: E402
from ges_history.warehouses import warehouse_for  # noqa: E402
from notebook_app import served  # noqa: E402

SCALE = 0.75
"""Pixels of a picture for one of the page: small files, at the width of a README."""
PICTURES = ROOT / "docs" / "pictures"


def main() -> None:
    """Make the demo's database in a folder of its own, then every picture."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        database, page = Path(folder, "ges_demo.duckdb"), Path(folder, "page.html")
        demo = [sys.executable, "-m", "ges_history", "demo", "--database", database.name]
        subprocess.run(demo, cwd=folder, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        write_page(warehouse_for(database), page)
        _page(browser, page.as_uri(), "page.png", width=1240, height=1640)
        _page(browser, page.as_uri(), "page-dark.png", width=1240, height=1640, dark=True)
        _page(browser, page.as_uri(), "page-phone.png", width=390, height=1500)
        _notebook(browser, database)


def _page(
    browser: Browser, address: str, name: str, *, width: int, height: int, dark: bool = False
) -> None:
    with visit(browser, address, width=width, dark=dark, scale=SCALE) as found:
        found.page.set_viewport_size({"width": width, "height": height})
        found.page.locator("figure.drawn").first.wait_for()
        found.page.wait_for_timeout(1_000)
        found.page.screenshot(path=PICTURES / name)


def _notebook(browser: Browser, database: Path) -> None:
    with (
        served(database) as address,
        visit(browser, address, allowed=address, scale=SCALE) as found,
    ):
        found.page.set_viewport_size({"width": 1240, "height": 1400})
        found.page.locator("svg.marks").nth(4).wait_for(timeout=120_000)
        found.page.wait_for_timeout(2_000)
        found.page.screenshot(path=PICTURES / "notebook.png")


if __name__ == "__main__":
    main()
