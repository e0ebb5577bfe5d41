"""Nothing that only POSIX has is imported or called on the way to `load`: a walk through the source.

It cannot be run on Windows here; the walk follows each import that our own modules make.
"""

import ast
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

OURS = ("ges_backups", "ges_history")
STARTS = ("ges_history.__main__", "ges_history.loading.projects", "ges_history.commands.load")
POSIX_MODULES = {
    "fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty", "crypt",
}  # fmt: skip
POSIX_NAMES = {
    "os.fchmod", "os.fchown", "os.fork", "os.forkpty", "os.geteuid", "os.getgid", "os.getpgid",
    "os.getuid", "os.killpg", "os.mkfifo", "os.nice", "os.openpty", "os.setsid", "os.statvfs",
    "os.sysconf", "os.uname", "os.wait", "signal.SIGALRM", "signal.SIGHUP", "signal.SIGKILL",
    "signal.SIGQUIT", "signal.SIGUSR1", "signal.alarm", "signal.pthread_sigmask",
    "signal.setitimer", "socket.AF_UNIX", "time.tzset",
}  # fmt: skip
WAREHOUSES_ELSEWHERE = {"ges_history.warehouses.postgres", "ges_history.warehouses.lake"}

ONLY_WITH_A_JOURNAL = {"ges_history.warehouses.rollback_journal": {"fcntl"}}
"""Imported where a journal was written: `test_without_names_of_open_files_there_is_no_journal`."""


def tree_of(module: str) -> ast.Module | None:
    spec = find_spec(module)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def imports(module: str, tree: ast.Module) -> Iterator[str]:
    """The modules that a module names, anywhere in it."""
    package = (
        module if (find_spec(module).submodule_search_locations) else module.rpartition(".")[0]
    )  # type: ignore[union-attr]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*above, *([node.module] if node.module else [])])
            base = base if node.level else str(node.module)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def walked() -> dict[str, ast.Module]:
    """Our modules that a load can come to, by name."""
    found: dict[str, ast.Module] = {}
    open_ = list(STARTS)
    while open_:
        module = open_.pop()
        if module in found or module in WAREHOUSES_ELSEWHERE or module.split(".")[0] not in OURS:
            continue
        try:
            tree = tree_of(module)
        except ModuleNotFoundError:  # a name in a module, not a module
            continue
        if tree is not None:
            found[module] = tree
            parents = [module.rsplit(".", depth)[0] for depth in range(1, module.count(".") + 1)]
            open_ += [*parents, *imports(module, tree)]
    return found


WALKED = walked()


def test_the_walk_comes_to_all_that_a_load_needs() -> None:
    assert {
        "ges_backups.client",
        "ges_backups.source",
        "ges_history.cli",
        "ges_history.loading.packages",
        "ges_history.warehouses.duckdb_file",
        "ges_history.warehouses.waiting",
    } <= set(WALKED)


@pytest.mark.parametrize("module", sorted(WALKED))
def test_module_needs_nothing_that_only_posix_has(module: str) -> None:
    tree = WALKED[module]
    named = {name.split(".")[0] for name in imports(module, tree)}
    assert named & POSIX_MODULES == ONLY_WITH_A_JOURNAL.get(module, set())
    used = {
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    assert used & POSIX_NAMES == set()
