"""What scripts/demo shows, on throw-away parts that are all gone when it ends."""

import shlex
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

import httpx
from tests.testing.engine import Engine
from tests.testing.ports import free_port
from tests.testing.process import Failed, TowlineProcess, wait_until
from tests.testing.registry import Registry, random_layer

NODE, INVITED = "demo-1", "demo-2"

NEXT = """
All of that is stopped and removed again. Next, on this machine{engine}:

    .venv/bin/towline up
    .venv/bin/towline pull IMAGE --on _all        (in a second terminal)

README.md says how to do the same on machines of your own.
"""


def main() -> int:
    """Run the demonstration; return the exit status."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    with ExitStack() as parts:
        directory = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="towline-demo-")))
        try:
            engine = parts.enter_context(Engine())
        except Failed as failure:
            print(f"No Docker Engine can run here: {last_line(failure)}", file=sys.stderr)
            return 1
        registry = parts.enter_context(Registry())
        layers = [{"etc/motd": b"Under tow.\n"}, random_layer("demo", size=2_000_000)]
        image = registry.push_image("demo/hello", "1.0", layers).reference
        say(
            f"A throw-away Docker Engine {engine.version()['Version']} and a registry are up, "
            f"and the registry has {image}."
        )
        try:
            show(Demonstration(directory, engine, parts), image)
        except (Failed, httpx.HTTPError) as failure:
            print(f"\nThe demo failed: {failure}", file=sys.stderr)
            print("--- dockerd", *engine.log.splitlines()[-10:], sep="\n", file=sys.stderr)
            return 1
    print(NEXT.format(engine=engine_hint()))
    return 0


class Demonstration:
    """A running `towline up`, and requests and commands for it that are shown as they pass."""

    def __init__(self, directory: Path, engine: Engine, parts: ExitStack) -> None:
        self._directory = directory
        self._engine = engine
        self._parts = parts
        self._commands = 0
        listen = f"127.0.0.1:{free_port()}"
        self._url = f"http://{listen}"
        arguments = ["--listen", listen, "--engine", engine.url, "--hostname", NODE]
        self.towline = self._command("up", *arguments)
        parts.enter_context(self.towline)
        self.towline.wait_for_output(r"\bready\b")
        print(self.towline.stdout.rstrip())
        self._http = parts.enter_context(httpx.Client(base_url=self._url, timeout=120))

    def invite(self, hostname: str) -> None:
        """Invite a second machine, which is this one with another state, and let it come in."""
        line = self.run("node", "invite", "--hostname", hostname, "--url", self._url)
        self.run(*shlex.split(line)[1:], machine="second")
        agent = self._command("agent", "--engine", self._engine.url, machine="second")
        self._parts.enter_context(agent)
        wait_until(lambda: hostname in self._nodes(), what=f"the node {hostname}")

    def _nodes(self) -> str:
        command = self._made("nodes", "--state", self._directory / "first")
        command.run()
        return command.stdout

    def request(self, method: str, path: str, token: str, body: dict[str, str]) -> dict[str, Any]:
        """Send a request, print it and its answer, and return the answer's body."""
        request = self._http.build_request(
            method, path, json=body, headers={"Authorization": f"Bearer {token}"}
        )
        print(f"\n> {method} {path}")
        for name, value in request.headers.raw:
            print(f"> {name.decode()}: {value.decode().replace(token, '$TOKEN')}")
        print(f">\n> {request.content.decode()}\n")
        response = self._http.send(request)
        print(f"< {response.http_version} {response.status_code} {response.reason_phrase}")
        for name, value in response.headers.raw:
            print(f"< {name.decode()}: {value.decode()}")
        print(f"<\n< {response.text}")
        if response.status_code != 202:
            raise Failed(f"the pull was answered with {response.status_code}\n{self.tail()}")
        answer: dict[str, Any] = response.json()
        return answer

    def run(self, *arguments: str, machine: str = "first", secret: bool = False) -> str:
        """Run a `towline` command, print it and what it says, and return its stdout."""
        command = self._command(*arguments, machine=machine)
        status = command.run(timeout=120)
        if not secret:
            print(command.stdout.rstrip())
        if status != 0:
            raise Failed(f"towline {arguments[0]}: exit status {status}\n{command.tail()}")
        return command.stdout.strip()

    def tail(self) -> str:
        """Return the end of what `towline up` has logged."""
        return self.towline.tail()

    def _command(self, *arguments: str, machine: str = "first") -> TowlineProcess:
        arguments += ("--state", str(self._directory / machine))
        print(f"\n$ {shlex.join(['towline', *arguments])}", flush=True)
        return self._made(*arguments)

    def _made(self, *arguments: str | Path) -> TowlineProcess:
        self._commands += 1
        return TowlineProcess(
            *arguments, logs=self._directory, name=f"{self._commands}-towline-{arguments[0]}"
        )


def show(demo: Demonstration, image: str) -> None:
    """Pull by the API, twice, then by the command line, and have the image kept.

    Raises:
        Failed: an answer isn't as promised.
    """
    token = demo.run(
        "token", "create", "--subject", "demo", "--role", "write", "--expires", "1d", secret=True
    )
    print(f"{token[:12]}... (TOKEN from here on)")
    say("The image is not on the node yet, so the first pull changes something:")
    pull(demo, token, image, changed=True)
    say("The second finds it there and changes nothing:")
    pull(demo, token, image, changed=False)
    say("A second machine comes in by one line, which is printed for it:")
    demo.invite(INVITED)
    say("And the pull on all from the command line, which finds address and token by itself:")
    demo.run("pull", image, "--on", "_all")
    say("That was done once. Now all nodes keep it, and those that come later get it:")
    demo.run("ensure", image, "--on", "_all")
    demo.run("set", "list")
    demo.run("nodes")


def pull(demo: Demonstration, token: str, image: str, *, changed: bool) -> None:
    """Pull by the API and hold the answer against what is promised."""
    answer = demo.request("POST", f"/node/{NODE}/container/docker/pull", token, {"image": image})
    changes = [(result["hostname"], result.get("changed")) for result in answer["results"]]
    if changes != [(NODE, changed)]:
        raise Failed(f"changed should be {changed} on {NODE}\n{demo.tail()}")


def say(sentence: str) -> None:
    """Print what comes next."""
    print(f"\n== {sentence}", flush=True)


def engine_hint() -> str:
    """Say how to start the machine's own engine, if it has none running."""
    if Path("/var/run/docker.sock").exists():
        return ""
    systemd = Path("/run/systemd/system").exists()
    start = "systemctl enable --now docker" if systemd else "service docker start"
    return f" (its own Docker Engine is installed, not started: {start})"


def last_line(failure: Failed) -> str:
    """Return the end of a failure's message: where it has a log, the daemon's own last words."""
    return str(failure).strip().splitlines()[-1]


def leave(number: int, _frame: FrameType | None) -> None:
    """On a signal unwind, so that every part is stopped; further signals don't disturb that."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
