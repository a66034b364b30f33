"""What is installed has all that the source has."""

import zipfile
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[2]


def test_the_wheel_has_the_documentations_page_with_its_licences(tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    built = zipfile.ZipFile(wheel).namelist()
    page = ROOT / "src" / "towline" / "controller" / "http" / "page"
    files = [path for path in page.rglob("*") if path.is_file()]
    assert len(files) >= 8
    for path in files:
        assert str(path.relative_to(ROOT / "src")) in built
    licences = {name.rpartition("/")[2] for name in built if ".dist-info/licenses/" in name}
    assert licences == {"LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt"}
