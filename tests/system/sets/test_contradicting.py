"""Sets that contradict each other, and who steers the jobs that sets make, on real engines."""

import pytest

from tests.testing.answers import refused
from tests.testing.cluster import DB_1, WEB_1, WEB_2, Cluster
from tests.testing.declared import Declared
from tests.testing.marks import ONE_KIND
from tests.testing.registry import PushedImage, Registry, random_layer

pytestmark = ONE_KIND


def test_what_a_tag_names_now_is_asked_where_another_set_pins_what_it_named(
    cluster: Cluster, image: PushedImage, registry: Registry
) -> None:
    pinned = Declared(cluster, "pinned", image.reference, target="group:web")
    pinned.put(follow="digest")
    try:
        pinned.until_rolled_out(image.digest)
        registry.push_image(image.repository, "1.0", [random_layer("moved")])
        asked = {"target": "_all", "images": [image.reference]}
        for params in ({}, {"dry_run": "true"}):
            said = refused(cluster.admin.put("/set/other", json=asked, params=params), 409)
            assert "The set 'pinned' wants another" in said
            assert f"on {WEB_1}, {WEB_2}: {image.digest}" in said
        elsewhere = cluster.admin.put("/set/other", json=asked | {"target": DB_1})
        assert elsewhere.status_code == 201
        cluster.admin.delete("/set/other").raise_for_status()
    finally:
        pinned.remove()


@pytest.mark.parametrize("permission", ["set:write", "job:admin"])
def test_whoever_may_change_sets_steers_the_jobs_that_they_make(
    cluster: Cluster, image: PushedImage, permission: str
) -> None:
    declared = Declared(cluster, "steered", image.reference, target=WEB_1)
    declared.put()
    try:
        declared.until_rolled_out(image.digest)
        job = declared.jobs[0]["id"]
        every = ["job:write", "docker:write"]
        others = cluster.client(cluster.token("admin", permissions=every, subject="other"))
        may = cluster.client(
            cluster.token("admin", permissions=[*every, permission], subject="other")
        )
        requests = (
            ("POST", f"/job/{job}/retry", {"target_hostname": WEB_1}, 201),
            ("POST", f"/job/{job}/cancel", None, 409),  # it has ended
            ("DELETE", f"/job/{job}", None, 204),
        )
        for method, path, body, status in requests:
            assert "'set:write'" in refused(others.request(method, path, json=body), 403)
            assert may.request(method, path, json=body).status_code == status
    finally:
        declared.remove()
