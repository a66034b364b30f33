"""Image references: what a person may write to name a container image."""

import functools
import re
from typing import Self

import msgspec

from towline.wire.text import problem_with_characters, quoted

DOCKER_HUB = "docker.io"
DEFAULT_TAG = "latest"

# Docker Hub's name from the days of the "Docker Index"; still found in old scripts.
_LEGACY_DOCKER_HUB = "index.docker.io"
_DOCKER_HUBS = (_LEGACY_DOCKER_HUB, "registry-1.docker.io")
_OFFICIAL = "library/"

# The grammar limits path, tag and digest but no host. A DNS name ends at 253 characters, so what
# could name an image ends near 780; refusing longer text first keeps every later check cheap.
_LONGEST_REFERENCE = 1024
_LONGEST_PATH = 255
_LONGEST_TAG = 128
_HEX_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}

_HOST = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*"
    r"|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
)
_PATH_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_LOWER_HEX = re.compile(r"[0-9a-f]+")
_IMAGE_ID = re.compile(r"[0-9a-f]{64}")
_MEANT_AS_DIGEST = re.compile(
    r"(?:sha256|sha384|sha512)(?::[^/]*)?|[A-Za-z][A-Za-z0-9+._-]*:[0-9a-fA-F]{32,}"
)


REMEMBERED = 256
"""References that were read last."""


class InvalidReference(ValueError):
    """The text is not an image reference; the message shows it and says how to mend it."""


class Reference(msgspec.Struct, frozen=True):
    """An image reference in full: registry, repository, and a tag, a digest or both.

    Made by `parse`; the constructor itself checks nothing.

    Parameters:
        domain: the registry, `host[:port]`; `docker.io` where the text named none.
        path: the repository within that registry, such as `library/nginx`.
        tag: the tag; None only beside a digest.
        digest: `algorithm:hex`, or None.
    """

    domain: str
    path: str
    tag: str | None
    digest: str | None

    @classmethod
    # A pull's is read by all who want to know its registry: five times by its controller.
    @functools.lru_cache(maxsize=REMEMBERED)
    def parse(cls, text: str) -> Self:
        """Read a reference as Docker does, short names included.

            >>> str(Reference.parse("nginx"))
            'docker.io/library/nginx:latest'
            >>> Reference.parse("localhost:5000/demo/hello").tag
            'latest'

        Stricter than the published code in two points: text over 1,024 characters is refused,
        and so is a first component with a dot that is no host (`my_host.io/app`), which that
        code takes for a repository on no registry at all.

        Raises `InvalidReference` when the text is none. What could be a password in it is not
        repeated in the message.

        Source: https://github.com/distribution/reference (grammar in reference.go, names in
        normalize.go); digests as in the OCI image specification, "Descriptors".
        """
        problem = _problem_with_text(text)
        if problem is None:
            domain, path, tag, digest = _split(text)
            problem = (
                _problem_with_domain(domain)
                or _problem_with_path(path)
                or _problem_with_tag(tag)
                or _problem_with_digest(digest)
            )
            if problem is None:
                return cls(domain, path, tag, digest)
        shown = quoted(_without_credentials(text))
        raise InvalidReference(f"{shown} is not an image reference: {problem}")

    @property
    def repository(self) -> str:
        """Registry and path, without tag or digest: `docker.io/library/nginx`."""
        return f"{self.domain}/{self.path}"

    @property
    def name(self) -> str:
        """The canonical text, which `parse` reads back to an equal reference."""
        return self.repository + self._suffix

    @property
    def pulled(self) -> str:
        """The canonical text of what is pulled: beside a digest a tag means nothing."""
        return self.name if self.digest is None else f"{self.repository}@{self.digest}"

    @property
    def familiar(self) -> str:
        """The text people know it by, `nginx:latest`, which `parse` reads back too."""
        if self.domain != DOCKER_HUB:
            return self.name
        short = self.path.removeprefix(_OFFICIAL)
        if "/" in short:
            short = self.path
            if _reads_as_host(short.partition("/")[0]):
                return self.name
        return short + self._suffix

    @property
    def _suffix(self) -> str:
        tag = "" if self.tag is None else f":{self.tag}"
        return tag if self.digest is None else f"{tag}@{self.digest}"

    def __str__(self) -> str:
        return self.name


def parse_registry(text: str) -> str:
    """Read the name of a registry alone, `host[:port]`; Docker Hub's other names are `docker.io`.

        >>> parse_registry("index.docker.io")
        'docker.io'

    Raises `InvalidReference` when the text is none. What could be a password in it is not
    repeated in the message.
    """
    if "@" in text:
        raise InvalidReference("what has an '@' in it is no registry, write HOST or HOST:PORT")
    if len(text) > _LONGEST_REFERENCE or not _HOST.fullmatch(text):
        raise InvalidReference(f"{quoted(text)} is not a registry, write HOST or HOST:PORT")
    if not _reads_as_host(text):
        raise InvalidReference(
            f"{quoted(text)} would be a repository's name in an image reference, write the "
            "registry as references do: with its domain, or with its port"
        )
    name = text.lower()
    return DOCKER_HUB if name in _DOCKER_HUBS else name


def _split(text: str) -> tuple[str, str, str | None, str | None]:
    rest, at, digest = text.partition("@")
    domain, slash, remainder = rest.partition("/")
    if not (slash and _reads_as_host(domain)):
        domain, remainder = DOCKER_HUB, rest
    elif domain == _LEGACY_DOCKER_HUB:
        domain = DOCKER_HUB
    path, colon, tag = remainder.partition(":")
    if domain == DOCKER_HUB and "/" not in path:
        path = _OFFICIAL + path
    default_tag = None if at else DEFAULT_TAG
    return domain, path, tag if colon else default_tag, digest if at else None


def _reads_as_host(component: str) -> bool:
    return (
        component == "localhost"
        or "." in component
        or ":" in component
        or component != component.lower()
    )


def _length_of_credentials(text: str) -> int:
    """How many characters, up to and with an '@', may be a user name and password."""
    before, at, after = text.rpartition("@")
    if at and _MEANT_AS_DIGEST.fullmatch(after):
        before, at, _ = before.rpartition("@")
    elif ":" not in before and not any(mark in after for mark in "/.:"):
        return 0  # `nginx@latest`: neither a password before nor a host after
    return len(before) + 1 if at else 0


def _without_credentials(text: str) -> str:
    length = _length_of_credentials(text)
    return f"***@{text[length:]}" if length else text


def _problem_with_text(text: str) -> str | None:
    if not text:
        return "it is empty, write one such as 'nginx:1.27'"
    if len(text) > _LONGEST_REFERENCE:
        return f"it has {len(text)} characters, use at most {_LONGEST_REFERENCE}"
    if _length_of_credentials(text):
        return (
            "what stands before the '@' may be a user name and password and is not shown, leave "
            "it out (after a name and '@' comes a digest: 'sha256:' and 64 hex digits)"
        )
    if problem := problem_with_characters(text):
        return problem
    scheme, separator, _ = text.partition("://")
    if separator:
        return f"it is a URL, leave out the scheme {quoted(scheme + separator)}"
    if text.endswith("/"):
        return "it ends in '/', leave that out or name a repository after it"
    if text.endswith(":"):
        return "it ends in ':', leave that out or write a tag after it"
    if _IMAGE_ID.fullmatch(text):
        return (
            "64 hex digits alone would be an image's id, write a digest as 'name@sha256:' and these"
        )
    return None


def _problem_with_domain(domain: str) -> str | None:
    if _HOST.fullmatch(domain):
        return None
    host, _, port = domain.rpartition(":")
    if ":" in host and "[" not in host:
        mend = "put an IPv6 address in brackets, as in '[2001:db8::1]:5000'"
    elif host and _HOST.fullmatch(host):
        mend = f"{quoted(port)} is not a port number; a tag stands at the end, after the last '/'"
    else:
        mend = "use letters, digits, '-' and '.', with ':' and a port number if needed"
    return f"its registry {quoted(domain)} is not a host, {mend}"


def _problem_with_path(path: str) -> str | None:
    if len(path) > _LONGEST_PATH:
        return f"its repository name has {len(path)} characters, use at most {_LONGEST_PATH}"
    for component in path.split("/"):
        if not component:
            return "a component of its repository name is empty, leave out the extra '/'"
        if component != component.lower():
            return (
                f"{quoted(component)} in its repository name has upper-case letters, "
                f"write {quoted(component.lower())}"
            )
        if not _PATH_COMPONENT.fullmatch(component):
            return (
                f"{quoted(component)} in its repository name is not allowed, use lower-case "
                "letters and digits, joined by one '.', one or two '_', or any number of '-'"
            )
    return None


def _problem_with_tag(tag: str | None) -> str | None:
    if tag is None:
        return None
    if not tag:
        return "its tag is empty, leave out the ':' or write a tag after it"
    if len(tag) > _LONGEST_TAG:
        return f"its tag has {len(tag)} characters, use at most {_LONGEST_TAG}"
    if not _TAG.fullmatch(tag):
        return (
            f"its tag {quoted(tag)} is not allowed, use letters, digits, '_', '.' and '-', "
            "with neither '.' nor '-' first"
        )
    return None


def _problem_with_digest(digest: str | None) -> str | None:
    if digest is None:
        return None
    algorithm, colon, encoded = digest.partition(":")
    if not colon:
        return (
            f"{quoted(digest)} after the '@' is not a digest, write one as 'sha256:' and 64 hex "
            "digits, or a tag after ':'"
        )
    length = _HEX_LENGTHS.get(algorithm)
    if length is None:
        return (
            f"its digest algorithm {quoted(algorithm)} is not known, "
            f"use one of {', '.join(_HEX_LENGTHS)}"
        )
    if len(encoded) != length:
        return f"its {algorithm} digest has {len(encoded)} hex digits, write all {length}"
    if not _LOWER_HEX.fullmatch(encoded):
        return f"its digest {quoted(encoded)} is not in lower-case hex, use 0-9 and a-f"
    return None
