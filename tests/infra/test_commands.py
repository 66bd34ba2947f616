"""Every `deid ...` command in README, manifests and DAG parses with the command line as it is."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import types
from pathlib import Path
from typing import Any, ClassVar

import click
import pytest
import typer
import yaml

from jobs.cli.app import app

REPOSITORY = Path(__file__).parents[2]
KUBERAY = REPOSITORY / "infra/kuberay"


def parse(words: list[str]) -> str:
    """Parse `deid` and its words down to the last sub-command, without running anything."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("deid", list(words[1:]), resilient_parsing=False)
    while isinstance(command, click.Group) or hasattr(command, "commands"):
        remaining = [*getattr(context, "_protected_args", []), *context.args]
        name, command, remaining = command.resolve_command(context, remaining)
        assert command is not None, f"no command {name}"
        context = command.make_context(name, remaining, parent=context)
    return str(context.command_path)


def commands_in(text: str) -> list[list[str]]:
    """Return the `deid` commands of shell text: lines that start with it, comments cut off."""
    joined = text.replace("\\\n", " ")
    found = re.findall(r"^\s*(?:\$ |\.venv/bin/)?(deid [^\n#|&;>]*)", joined, re.MULTILINE)
    return [shlex.split(command) for command in found]


def entrypoints() -> list[str]:
    found = []
    for path in sorted(KUBERAY.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            spec = document.get("spec", {})
            for job in (spec, spec.get("jobTemplate", {})):
                if "entrypoint" in job:
                    found.append(job["entrypoint"])
    return found


def test_the_entry_points_of_the_manifests_parse() -> None:
    assert len(entrypoints()) == 3
    for entrypoint in entrypoints():
        words = shlex.split(entrypoint)
        assert words[:2] == ["bash", "-c"]
        (command,) = commands_in(words[2])
        assert parse(command) in {"deid nightly", "deid backfill run"}


def test_the_entry_points_let_quarantine_pass_and_nothing_else() -> None:
    for entrypoint in entrypoints():
        script = shlex.split(entrypoint)[2]
        for code, expected in ((0, 0), (3, 0), (1, 1), (137, 137)):
            stub = f"deid() {{ return {code}; }}; {script}"
            done = subprocess.run(["bash", "-c", stub], check=False)
            assert done.returncode == expected


@pytest.mark.parametrize("words", [["deid", "nightly", "--nonsense", "x"], ["deid", "nothing"]])
def test_a_wrong_command_does_not_parse(words: list[str]) -> None:
    with pytest.raises(Exception, match=r"(?i)no such"):  # typer ships its own click
        parse(words)


def test_the_commands_of_the_readme_parse() -> None:
    blocks = re.findall(
        r"```(?:bash|sh|console)\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL
    )
    commands = [command for block in blocks for command in commands_in(block)]
    assert commands
    for command in commands:
        assert parse(command).startswith("deid ")


class Operator:
    """Stands for Airflow's BashOperator: keeps its arguments and the order of tasks."""

    made: ClassVar[list[Operator]] = []

    def __init__(self, **arguments: Any) -> None:
        self.arguments, self.after = arguments, []
        self.made.append(self)

    def __rshift__(self, other: Any) -> Any:
        for task in other if isinstance(other, list) else [other]:
            task.after.append(self)
        return other


class Dag:
    def __init__(self, **arguments: Any) -> None:
        self.arguments = arguments

    def __enter__(self) -> Dag:
        return self

    def __exit__(self, *_: object) -> None: ...


def test_the_airflow_dag_runs_verifies_and_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    names = (
        "airflow", "airflow.sdk", "airflow.providers", "airflow.providers.standard",
        "airflow.providers.standard.operators", "airflow.providers.standard.operators.bash",
    )  # fmt: skip
    modules = {name: types.ModuleType(name) for name in names}
    modules["airflow.sdk"].DAG = Dag  # type: ignore[attr-defined]
    modules["airflow.providers.standard.operators.bash"].BashOperator = Operator  # type: ignore[attr-defined]
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    source = (REPOSITORY / "infra/airflow/dag.py").read_text()
    exec(compile(source, "dag.py", "exec"), {"__name__": "dag", "__doc__": "x"})  # noqa: S102
    tasks = {o.arguments["task_id"]: o for o in Operator.made}
    assert set(tasks) == {"nightly", "verify", "held_back", "report"}
    assert tasks["verify"].after == [tasks["nightly"]]
    assert tasks["report"].after == [tasks["verify"]]
    for task in tasks.values():
        # Templates become plain values: dates where the command wants dates.
        text = re.sub(r"\{\{[^}]*\| ds \}\}", "2026-03-02", task.arguments["bash_command"])
        (command,) = commands_in(re.sub(r"\{\{[^}]*\}\}", "x", text))
        parse(command)
