"""Jobs and nodes that go on, for tests of what is shown of them."""

import msgspec

from towline.client import NodeProgress, PartProgress, Progress, Total


def a_node(number: int, status: str = "running", **more: object) -> NodeProgress:
    return NodeProgress(f"web-{number}", f"m{number}", status, **more)  # type: ignore[arg-type]


def pulling(number: int, fetched: int = 25, *layers: PartProgress) -> NodeProgress:
    sizes = {"fetched": fetched * 2**20, "size": 100 * 2**20, "rate": 5 * 2**20, "left": 15}
    return msgspec.structs.replace(a_node(number), phase="downloading", parts=list(layers), **sizes)


def a_job(*nodes: NodeProgress, total: Total | None = None, job_id: str = "j") -> Progress:
    counts: dict[str, int] = {}
    for node in nodes:
        counts[node.status] = counts.get(node.status, 0) + 1
    listed = {node.machine_id: node for node in nodes}
    return Progress(job_id, "processing", total or Total(counts, 0.25), listed, list(listed))
