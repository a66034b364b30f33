"""The Python examples of a document: one program, and the modules that it imports."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

_BLOCK = re.compile(r"(?ms)^```(?P<info>[^\n]*)\n(?P<body>.*?)^```$")
_MODULE = re.compile(r'python title="(?P<name>\w+\.py)"')
_MARK = "\N{SYMBOL FOR RECORD SEPARATOR}"


@dataclass
class Examples:
    """What a document has in blocks of Python.

    Attributes:
        program: all blocks that are no module of their own, each at its place: a line of the
            program is that line of the document.
        modules: the text of each module by the name of its file.
        outputs: what blocks print, by the line at which they begin: the block of text that follows.
        unknown: the lines of blocks of Python that are neither.
    """

    program: str
    modules: dict[str, str] = field(default_factory=dict)
    outputs: dict[int, str] = field(default_factory=dict)
    unknown: list[int] = field(default_factory=list)


def examples(document: Path) -> Examples:
    """Return the examples of a document."""
    text = document.read_text()
    lines = [""] * text.count("\n")
    found = Examples("")
    before: tuple[int, int] | None = None
    for block in _BLOCK.finditer(text):
        begin = text.count("\n", 0, block.start())
        info, body = block["info"], block["body"]
        if module := _MODULE.fullmatch(info):
            found.modules[module["name"]] = body
        elif info == "python":
            lines[begin] = f'print("{_MARK}", {begin + 1}, flush=True)'
            code = body.splitlines()
            lines[begin + 1 : begin + 1 + len(code)] = code
            before = (begin + 1, block.end())
        elif info.startswith("py"):
            found.unknown.append(begin + 1)
        elif info == "text" and before and not text[before[1] : block.start()].strip():
            found.outputs[before[0]] = body
    found.program = "\n".join(lines) + "\n"
    return found


def printed(output: str) -> dict[int, str]:
    """Return what each block has printed, by the line at which it begins."""
    _, *parts = output.split(_MARK)
    split = [part.partition("\n") for part in parts]
    return {int(line): rest for line, _, rest in split}


def agree(expected: str, output: str) -> bool:
    """Whether an output is the expected one, in which `…` stands for any text within a line."""
    pattern = re.escape(expected.rstrip()).replace("…", "[^\n]*")
    return re.fullmatch(pattern, output.rstrip()) is not None
