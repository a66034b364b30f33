"""Several images with one command, and what would come of it."""

import json
from pathlib import Path

from tests.testing.cluster import DB_1, WEB_1, WEB_2, Cluster
from tests.testing.command import CommandLine
from tests.testing.engine import Engine
from tests.testing.registry import PushedImage, Registry, random_layer


def test_a_list_of_images_is_a_job_each(
    mixed: Cluster, towline: CommandLine, engine: Engine, registry: Registry, tmp_path: Path
) -> None:
    images = [
        registry.push_image(f"several/{name}", "1.0", [random_layer(name)]).reference
        for name in "abc"
    ]
    made = mixed.jobs_made()
    listed = tmp_path / "images.txt"
    listed.write_text("\n".join(["# all that a shop is made of", *images]))
    done = towline("pull", "-f", listed, "--on", WEB_1, "-o", "json")
    assert (done.status, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert [each["image"] for each in found] == images
    assert all(engine.image(image) is not None for image in images)
    assert mixed.jobs_made() == made + len(images)
    assert {mixed.job(each["job_id"])["status"] for each in found} == {"completed"}

    missing = f"{registry.host}/several/a:9.9"
    done = towline("pull", images[0], missing, "--on", WEB_1, "--retries", "0")
    assert done.status == 1
    assert missing in done.stdout


def test_a_dry_run_says_who_would_do_it_and_makes_nothing(
    mixed: Cluster, towline: CommandLine, engine: Engine, image: PushedImage
) -> None:
    made = mixed.jobs_made()
    done = towline("pull", image.reference, "--on", "_all", "--dry-run")
    assert (done.status, done.stderr) == (0, "")
    summary, _, *rest = done.stdout.splitlines()
    assert "1 would run" in summary
    assert image.digest[:19] in summary
    said = {line.split()[0]: line for line in rest if line}
    assert "would run" in said[WEB_1]
    assert "cannot connect" in rest[rest.index(f"would fail: {WEB_2}") + 1]
    assert "this node has no docker" in rest[rest.index(f"skipped: {DB_1}") + 1]
    assert towline("pull", image.reference, "--on", DB_1, "--dry-run").status == 3
    assert engine.image(image.reference) is None
    assert mixed.jobs_made() == made
