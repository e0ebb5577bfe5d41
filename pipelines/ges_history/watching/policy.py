"""A policy: what must hold of which graphs, read from a TOML file.

    [[rules]]
    graphs = ["orders*", "4c5f882d-a813-4d78-a8e3-6d3212ddd121"]   # names or ids; default: all
    projects = ["prod-*"]                                          # names or ids; default: all
    exclude = ["*-test"]                                           # names or ids of graphs
    severity = "critical"                                          # or "warning"
    rpo_hours = 26
    must_be_encrypted = true

A table may hold several kinds of rules (`ges_history.watching.kinds`). For each kind, the first
rule that names a graph counts. A stale load is watched even where the file does not ask for it:
every other figure is as of the last listing, and would look well for ever.
"""

import os
import re
import tomllib
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ges_history.errors import HistoryError
from ges_history.watching.facts import Graph
from ges_history.watching.kinds import KINDS, Kind, Severity

DEFAULT_FILE = "ges_policy.toml"
_GLOBS = ("graphs", "projects", "exclude")
_TOP = ("rules", "with_defaults")
_SEVERITIES = ("critical", "warning")


class PolicyError(HistoryError):
    """A policy cannot be read, or a part of it is wrong; the message names the line."""


@dataclass(frozen=True)
class Rule:
    """One line of a policy.

    Attributes:
        kind: A name of `KINDS`.
        target: The figure; of a switch 1 (on) or 0 (off: its graphs are left out).
        place: Where it stands, for people.
    """

    kind: str
    target: float
    severity: Severity = "critical"
    graphs: tuple[str, ...] = ("*",)
    projects: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    place: str = "default policy"

    def covers(self, graph: Graph) -> bool:
        """Whether its globs name the graph, exclusions aside."""
        return self.covers_project(graph.project_id, graph.project_name) and _named(
            self.graphs, graph.graph_id, graph.graph_name
        )

    def covers_project(self, project_id: str, name: str) -> bool:
        """Whether its globs name the project."""
        return _named(self.projects, project_id, name)

    def excludes(self, graph: Graph) -> bool:
        """Whether it leaves out the graph that it covers."""
        is_off = KINDS[self.kind].is_switch and not self.target
        return is_off or _named(self.exclude, graph.graph_id, graph.graph_name)


@dataclass(frozen=True)
class Ruling:
    """Which rule counts for a graph; or which one excluded it, where none counts."""

    rule: Rule | None = None
    excluded_by: Rule | None = None


@dataclass(frozen=True)
class Policy:
    """Rules, the first that names a graph counts for each kind."""

    name: str
    rules: tuple[Rule, ...]
    _by_kind: dict[str, list[Rule]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_kind = {kind: [rule for rule in self.rules if rule.kind == kind] for kind in KINDS}
        object.__setattr__(
            self, "_by_kind", {kind: rules for kind, rules in by_kind.items() if rules}
        )

    @property
    def kinds(self) -> list[str]:
        """The kinds that it has rules of, in the order of `KINDS`."""
        return list(self._by_kind)

    def rules_of(self, kind: str) -> list[Rule]:
        """Its rules of a kind, in their order."""
        return self._by_kind.get(kind, [])

    def ruling(self, kind: str, graph: Graph) -> Ruling:
        """Which of its rules of a kind counts for a graph."""
        excluded_by = None
        for rule in self.rules_of(kind):
            if not rule.covers(graph):
                continue
            if not rule.excludes(graph):
                return Ruling(rule=rule)
            excluded_by = excluded_by or rule
            if KINDS[kind].is_switch and not rule.target:
                break  # switched off: a later rule does not bring it back
        return Ruling(excluded_by=excluded_by)


DEFAULT_RULES = (
    Rule("stale_load", 1),
    Rule("overdue", 1),
    Rule("stuck", 1),
    Rule("never_succeeded", 1),
    Rule("failed_listing", 1),
    Rule("anomalies", 1, "warning"),
    Rule("rejected_records", 1, "warning"),
)
DEFAULT_POLICY = Policy("default policy", DEFAULT_RULES)


def find_policy(path: Path | None, *beside: Path) -> Policy:
    """The policy of a file; else of `ges_policy.toml` in the folders `beside`; else the default.

    Raises:
        PolicyError: The file cannot be read, a part of it is wrong, or folders hold different ones.
    """
    if path is not None:
        return read_policy(path)
    usual = [folder / DEFAULT_FILE for folder in dict.fromkeys(beside or (Path(),))]
    found = [read_policy(file) for file in usual if os.path.lexists(file)]
    for other in found[1:]:
        if other.rules != found[0].rules:
            raise PolicyError(
                f"{found[0].name} and {other.name} say different things: give one by --policy."
            )
    return found[0] if found else DEFAULT_POLICY


def read_policy(path: Path) -> Policy:
    """The policy of a file.

    Raises:
        PolicyError: The file cannot be read, or a part of it is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise PolicyError(f"The policy {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise PolicyError(f"The policy {path} is not UTF-8.") from error
    return parse_policy(text, str(path))


def parse_policy(text: str, name: str) -> Policy:
    """The policy of a text; `name` is how messages call it.

    Raises:
        PolicyError: A part of it is wrong; the message names the line.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"The policy {name} is no TOML: {error}.") from error
    except (ValueError, RecursionError) as error:
        line = _line_of_too_much(text)
        raise PolicyError(
            f"The policy {name}, line {line}: a number is too long, or brackets are too deep."
        ) from error
    return _Reader(name, text, content).policy()


def _line_of_too_much(text: str) -> int:
    """The first line up to which a text cannot be read, though it may be TOML."""
    lines = text.splitlines(keepends=True)

    def is_too_much(count: int) -> bool:
        try:
            tomllib.loads("".join(lines[:count]))
        except tomllib.TOMLDecodeError:  # it ends too early
            return False
        except (ValueError, RecursionError):
            return True
        return False

    return bisect_left(range(len(lines)), True, key=is_too_much)


def _named(globs: tuple[str, ...], *names: str) -> bool:
    return "*" in globs or any(fnmatchcase(name, glob) for glob in globs for name in names)


class _Reader:
    """Checks what a file says, and knows where it says so."""

    def __init__(self, name: str, text: str, content: dict[str, Any]) -> None:
        self._name = name
        self._content = content
        self._lines = _lines(text)

    def policy(self) -> Policy:
        for key in self._content:
            if key not in _TOP:
                raise self._wrong(None, key, _unknown(key, _TOP))
        tables = self._content.get("rules", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise self._wrong(None, "rules", "rules are tables: write [[rules]] above each.")
        rules = [rule for place, table in enumerate(tables) for rule in self._rules(place, table)]
        if not rules:
            raise PolicyError(f"The policy {self._name} holds no rule: write one below [[rules]].")
        with_defaults = self._content.get("with_defaults", False)
        if not isinstance(with_defaults, bool):
            raise self._wrong(None, "with_defaults", "with_defaults is true or false.")
        if with_defaults:
            rules += DEFAULT_RULES
        elif not {"stale_load", "stale_hours"} & {rule.kind for rule in rules}:
            rules += DEFAULT_RULES[:1]
        return Policy(self._name, tuple(rules))

    def _rules(self, place: int, table: dict[str, Any]) -> Iterator[Rule]:
        known = (*_GLOBS, "severity", *KINDS)
        for key in table:
            if key not in known:
                raise self._wrong(place, key, _unknown(key, known))
        globs = {key: self._patterns(place, key, table[key]) for key in _GLOBS if key in table}
        severity = table.get("severity", "critical")
        if severity not in _SEVERITIES:
            raise self._wrong(place, "severity", 'severity is "critical" or "warning".')
        kinds = [key for key in table if key in KINDS]
        if not kinds:
            raise self._wrong(place, None, f"no rule in this table: {', '.join(KINDS)}.")
        for kind in kinds:
            yield Rule(
                kind,
                self._target(place, KINDS[kind], table[kind]),
                severity,
                place=f"line {self._line(place, kind)}",
                **globs,
            )

    def _patterns(self, place: int, key: str, value: Any) -> tuple[str, ...]:
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise self._wrong(place, key, f'{key} are names or ids, like ["orders*", "g1"].')
        if not texts and key != "exclude":
            raise self._wrong(
                place, key, f"{key} is empty and names nothing: leave it out for all."
            )
        return tuple(texts)

    def _target(self, place: int, kind: Kind, value: Any) -> float:
        if kind.high is None:
            if not isinstance(value, bool):
                raise self._wrong(place, kind.name, f"{kind.name} is true or false.")
            return float(value)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        is_right = is_number and kind.low < value <= kind.high
        if not is_right or (kind.is_whole and value != int(value)):
            what = "a whole number" if kind.is_whole else "a number"
            least = f"from 1 to {kind.high:g}" if kind.is_whole else f"above 0, up to {kind.high:g}"
            raise self._wrong(place, kind.name, f"{kind.name} is {what} {least}.")
        return float(value)

    def _line(self, place: int | None, key: str | None) -> int:
        """The line of a key in a table of rules; of the table, or of the first line, else."""
        for known in ((place, key), (place, None), (None, "rules")):
            if known in self._lines:
                return self._lines[known]
        return 1

    def _wrong(self, place: int | None, key: str | None, words: str) -> PolicyError:
        return PolicyError(f"The policy {self._name}, line {self._line(place, key)}: {words}")


def _lines(text: str) -> dict[tuple[int | None, str | None], int]:
    """{(which [[rules]], key): line}; key None is the header, which None what stands above all."""
    found: dict[tuple[int | None, str | None], int] = {}
    place, count = None, 0
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(r"\s*\[\[\s*[\"']?rules[\"']?\s*\]\]", line):
            place, count = count, count + 1
            found[place, None] = number
        elif header := re.match(r"\s*\[+\s*[\"']?([\w-]+)", line):
            found.setdefault((None, header[1]), number)
        elif key := re.match(r"\s*[\"']?([\w-]+)[\"']?\s*=", line):
            found.setdefault((place, key[1]), number)
    return found


def _unknown(key: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(key, known, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}."
    return f"there is no {key!r}; {hint}"
