"""The commands that the description of a new endpoint shows do what it says of them."""

from pathlib import Path

from tests.system.openapi.document import entries
from tests.system.openapi.samples import run
from tests.testing.cluster import Cluster


def test_a_form_is_sent_with_its_file_and_its_texts(port: Cluster, tmp_path: Path) -> None:
    document = port.anyone.get("/openapi.json").json()
    forms = {
        path: entry
        for path, _, entry in entries(document)
        if "multipart/form-data" in entry.get("requestBody", {}).get("content", {})
    }
    assert forms.keys() == {"/harbour/{name}/hold", "/harbour/{name}/figurehead"}
    (tmp_path / "CARGO").write_bytes(b"\0\1\2")
    (tmp_path / "WOOD").write_bytes(b"oak")
    for entry in forms.values():
        run(port, entry, tmp_path)
    (carved,) = forms["/harbour/{name}/figurehead"]["x-codeSamples"]
    assert "--form-string 'figure=@a mermaid" in carved["source"]
    assert "-F wood=@WOOD " in carved["source"]
