"""Debian's Chromium for the tests, without any network."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from playwright.sync_api import Browser, Page, Route, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NO_BROWSER = "there is no Chromium on the path: apt-get install chromium"
HEIGHT = 900
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass
class Visit:
    """An open page, with what it asked the network for and what it complained about."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def again(self, url: str, *, width: int = 1280, dark: bool = False) -> None:
        """Open a page afresh in the same window, as wide as this: it costs a third of a new one."""
        self.requests.clear()
        self.complaints.clear()
        self.page.set_viewport_size({"width": width, "height": HEIGHT})
        self.page.emulate_media(media="screen", color_scheme="dark" if dark else "light")
        self.page.goto(url)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visit(
    browser: Browser,
    url: str,
    *,
    width: int = 1280,
    scripts: bool = True,
    dark: bool = False,
    scale: float = 1,
    allowed: str = "file:",
) -> Iterator[Visit]:
    """Open a page that can reach only addresses that begin with `allowed`."""
    context = browser.new_context(
        viewport={"width": width, "height": HEIGHT},
        device_scale_factor=scale,
        java_script_enabled=scripts,
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",  # else a page may still scroll between a press and its release
    )
    context.set_offline(allowed == "file:")
    opened = Visit(context.new_page())

    def decide(route: Route) -> None:
        if route.request.url.startswith((allowed, "data:", "blob:")):
            route.continue_()
        else:
            opened.requests.append(route.request.url)
            route.abort()

    context.route("**/*", decide)
    opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
    opened.page.on(
        "console",
        lambda message: (
            message.type in {"error", "warning"} and opened.complaints.append(message.text)
        ),
    )
    opened.page.on("dialog", lambda dialog: opened.complaints.append(dialog.message))
    try:
        opened.page.goto(url)
        yield opened
    finally:
        context.close()
