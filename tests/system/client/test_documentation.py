"""docs/client.md: its examples run as they stand there, and are typed; so is that of README."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.testing.cluster import NO_ENGINE, Cluster, NodePlan
from tests.testing.engine import Engine
from tests.testing.examples import agree, examples, printed
from tests.testing.marks import ONE_KIND
from tests.testing.registry import Registry, random_layer
from towline.client import Client, Job, JobOptions
from towline.endpoint import Endpoint
from towline.endpoints import events, health, jobs, nodes, registries

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs/client.md"
EXAMPLES = examples(DOCUMENT)
REGISTRY = "registry.internal:5000"
"""The registry of the examples; the real one takes its place."""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the modules of the document are."""
    for name, text in EXAMPLES.modules.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def mypy(directory: Path, *files: Path) -> subprocess.CompletedProcess[str]:
    """Check types as those of the project are checked: strictly."""
    return subprocess.run(
        [sys.executable, "-m", "mypy", *files],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(directory)},
        capture_output=True,
        text=True,
    )


def test_every_block_of_python_is_run() -> None:
    assert EXAMPLES.unknown == []
    assert EXAMPLES.modules.keys() == {"census.py", "soak.py"}


@ONE_KIND
def test_the_examples_do_what_the_document_says(
    directory: Path, engines: Sequence[Engine], registry: Registry
) -> None:
    registry.push_image("shop", "1.0", [random_layer("documentation")])
    path = os.pathsep.join(filter(None, [str(directory), os.environ.get("PYTHONPATH")]))
    env = {"TOWLINE_OPERATIONS": "soak,census", "PYTHONPATH": path}
    plans = [
        NodePlan("web-01", engines[0].url, ("group:web.dev",)),
        NodePlan("web-02", engines[1].url, ("group:web.prod",)),
        NodePlan("db-01", NO_ENGINE, ("group:db",)),
    ]
    program = directory / "examples.py"
    program.write_text(EXAMPLES.program.replace(REGISTRY, registry.host))
    with Cluster(directory, plans, env) as cluster:
        token = cluster.token("admin", subject="alice")
        ran = subprocess.run(
            [sys.executable, program],
            env={**os.environ, **env, "TOWLINE_URL": cluster.url, "TOWLINE_TOKEN": token},
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = printed(ran.stdout.replace(registry.host, REGISTRY))
    assert EXAMPLES.outputs
    for line, expected in EXAMPLES.outputs.items():
        assert agree(expected, found[line]), f"line {line}: {found[line]}"
    # What is printed is shown.
    assert {line for line, output in found.items() if output} == EXAMPLES.outputs.keys()


def test_the_examples_are_typed(directory: Path) -> None:
    program = directory / "examples.py"
    program.write_text(EXAMPLES.program)
    checked = mypy(directory, program, *(directory / name for name in EXAMPLES.modules))
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_example_of_the_readme_is_typed(directory: Path) -> None:
    program = directory / "readme.py"
    short = examples(ROOT / "README.md").program
    assert "client.run(docker.pull" in short
    program.write_text(f'token = "…"\n{short}')
    checked = mypy(directory, program)
    assert checked.returncode == 0, checked.stdout + checked.stderr


WRONG = [
    'client.run(docker.pull, on="web-01", image=1)',
    'client.run(docker.pull, on="web-01")',
    "client.with_options(max_paralel=1)",
    "client.jobs(state=1)",
    "client.jobs(status='complete')",
    "client.call(health.version, number=1)",
    "print(client.call(health.version).number)",
    "print(view.results[0].value.tag)",
]


def test_what_is_wrong_is_found_by_its_types(directory: Path) -> None:
    program = directory / "wrong.py"
    program.write_text("\n".join([EXAMPLES.program.rstrip(), *WRONG]))
    checked = mypy(directory, program)
    first = EXAMPLES.program.rstrip().count("\n") + 2
    found = {int(line) for line in re.findall(r"wrong\.py:(\d+): error:", checked.stdout)}
    assert found == set(range(first, first + len(WRONG))), checked.stdout


def test_every_endpoint_method_and_option_is_named() -> None:
    named = set(re.findall(r"`(?:client\.|job\.)?([\w.]+)", DOCUMENT.read_text()))
    modules = (events, health, jobs, nodes, registries)
    offered = {
        f"{module.__name__.rpartition('.')[2]}.{name}"
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, Endpoint)
    }
    methods = {
        name
        for kind in (Client, Job)
        for name, value in vars(kind).items()
        if not name.startswith("_") and callable(value)
    }
    assert "health.status" in offered
    assert offered | methods | set(JobOptions.__struct_fields__) <= named
