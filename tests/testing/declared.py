"""A set of a fleet of real parts, as a test declares and watches it."""

from collections.abc import Callable
from typing import Any

from tests.testing.cluster import Cluster
from tests.testing.process import wait_until


class Declared:
    """A set of one image, for all nodes."""

    def __init__(self, cluster: Cluster, name: str, image: str, target: str = "_all") -> None:
        self.cluster = cluster
        self.name = name
        self._body: dict[str, Any] = {"target": target, "images": [image]}
        self._every = 900

    def put(self, **more: Any) -> None:
        """Declare it, or declare it anew: what its tag names is looked up at once then."""
        self._every += 1
        self._body |= {"every": f"{self._every}s", **more}
        answer = self.cluster.admin.put(f"/set/{self.name}", json=self._body)
        assert answer.is_success, answer.text

    def do(self, what: str) -> None:
        """Pause it, resume it, or roll it back."""
        answer = self.cluster.admin.post(f"/set/{self.name}/{what}")
        assert answer.is_success, answer.text

    def remove(self) -> None:
        """Remove it."""
        answer = self.cluster.admin.delete(f"/set/{self.name}")
        assert answer.is_success, answer.text

    @property
    def image(self) -> dict[str, Any]:
        """How far its image is."""
        answer = self.cluster.admin.get(f"/set/{self.name}").raise_for_status()
        (found,) = answer.json()["images"]
        assert isinstance(found, dict)
        return found

    def until(self, so: Callable[[dict[str, Any]], object], what: str) -> dict[str, Any]:
        """Wait until its image is so, and return how far it is."""
        found: dict[str, Any] = {}

        def looked() -> bool:
            found.clear()
            found.update(self.image)
            return bool(so(found))

        wait_until(looked, timeout=60, what=what)
        return found

    def until_rolled_out(self, digest: str) -> dict[str, Any]:
        """Wait until a digest is the current one."""
        return self.until(lambda image: image.get("current") == digest, f"{digest} rolled out")

    @property
    def nodes(self) -> dict[str, dict[str, Any]]:
        """Where each node stands against its image, by hostname."""
        answer = self.cluster.admin.get(f"/set/{self.name}/nodes").raise_for_status()
        return {row["hostname"]: row for row in answer.json()["nodes"]}

    @property
    def jobs(self) -> list[dict[str, Any]]:
        """Its jobs, the newest first."""
        answer = self.cluster.admin.get("/job", params={"caller": f"set:{self.name}", "limit": 50})
        found: list[dict[str, Any]] = answer.raise_for_status().json()["items"]
        return found
