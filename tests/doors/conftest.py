"""Fixtures of the doors: a clone, its packages, and environments with them."""

import pytest

from environments import Environment, Packages, build, copy_repository, make_environment


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    clone = copy_repository(tmp_path_factory.mktemp("clone"))
    return Packages(clone, *build(clone, tmp_path_factory.mktemp("dist")))


@pytest.fixture(scope="module")
def plain(packages: Packages, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel in an empty environment, without any extra."""
    return make_environment(tmp_path_factory.mktemp("plain") / "venv", str(packages.wheel))
