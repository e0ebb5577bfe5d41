"""What servers say, without the secrets that they repeat."""

import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

Hide = Callable[[str], str]
"""A text without secrets."""

HIDDEN = "***"
LEAST = 4
"""Characters of a secret that is looked for: shorter ones stand in any text."""


class Secrets:
    """The secrets that a client uses; threads share it."""

    def __init__(self) -> None:
        self._forms: list[str] = []

    def add(self, *secrets: str | None) -> None:
        """Hide these from now on: as they are, in JSON, and in a URL."""
        known = [secret for secret in secrets if secret and len(secret) >= LEAST]
        forms = {
            form(secret)
            for secret in known
            for form in (str, lambda text: json.dumps(text)[1:-1], quote_plus, _quote)
        }
        self._forms = sorted({*self._forms, *forms}, key=len, reverse=True)

    def hide(self, text: str) -> str:
        """The text with `HIDDEN` where a secret stood."""
        for form in self._forms:
            text = text.replace(form, HIDDEN)
        return text


def _quote(text: str) -> str:
    return quote(text, safe="")
