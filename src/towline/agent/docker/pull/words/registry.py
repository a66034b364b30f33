"""What registries say."""

from __future__ import annotations

from towline.agent.docker.kind import Kind
from towline.agent.docker.pull.words.row import CLASSIC, CONTAINERD, PODMAN, Row, Said, Speaker

_RESOLVE = 'failed to resolve reference "registry.example/app:1.0": '
_URL = "https://registry.example/v2/app"
_INITIALIZE = "initializing source docker://registry.example/app:1.0: reading manifest 1.0 in "

BUSY = (
    Row(
        Kind.BUSY,
        Speaker.REGISTRY,
        "Too many requests",
        (
            "toomanyrequests",
            "too many requests",
            "rate limit",
            "rate exceeded",
            "parsing http 429 response",
            "unexpected status from .*: 429\\b",
            "statuscode: 429\\b",
        ),
        (
            Said(CLASSIC, "toomanyrequests: You have reached your pull rate limit"),
            Said(
                CLASSIC,
                'error parsing HTTP 429 response body: unexpected end of JSON input: ""',
            ),
            Said(
                CONTAINERD,
                f"unknown: {_RESOLVE}unexpected status from HEAD request to {_URL}/manifests/1.0: "
                "429 Too Many Requests",
            ),
            Said(CONTAINERD, "error from registry: You have reached your pull rate limit"),
            Said(PODMAN, "parsing image configuration: too many requests to registry"),
            Said(
                PODMAN,
                f"{_INITIALIZE}registry.example/app: toomanyrequests: You have reached your pull "
                "rate limit",
            ),
        ),
        "The registry limits how much is asked of it, for each address or each user.",
    ),
)

REFUSED = (
    Row(
        Kind.REFUSED,
        Speaker.REGISTRY,
        "No login, or a wrong one",
        (
            "unauthorized",
            "authentication required",
            "no basic auth credentials",
            "incorrect username or password",
            "invalid username/password",
            "authorization failed",
            "insufficient_scope",
            "parsing http 401 response",
            "unexpected status from .*: 401\\b",
        ),
        (
            Said(CLASSIC, "unauthorized: authentication required"),
            Said(CLASSIC, f'Head "{_URL}/manifests/1.0": no basic auth credentials'),
            Said(
                CONTAINERD,
                f"unknown: {_RESOLVE}unexpected status from HEAD request to {_URL}/manifests/1.0: "
                "401 Unauthorized",
            ),
            Said(CONTAINERD, "error from registry: authentication required"),
            Said(
                CONTAINERD,
                f"{_RESOLVE}pull access denied, repository does not exist or may require "
                "authorization: authorization failed: no basic auth credentials",
            ),
            Said(
                PODMAN,
                f"{_INITIALIZE}registry.example/app: unauthorized: authentication required",
            ),
            Said(
                PODMAN,
                "parsing image configuration: unable to retrieve auth token: invalid "
                "username/password: unauthorized: authentication required",
            ),
        ),
        "The registry wants a login, or the one that it got is wrong or has expired.",
        "",
    ),
    Row(
        Kind.REFUSED,
        Speaker.REGISTRY,
        "Access denied",
        (
            "pull access denied",
            "(?<!permission )\\bdenied\\b",
            "error from registry: .*(denied|forbidden|not allowed)",
            "(?<!\\d )(?<!: )\\bforbidden\\b: ",
        ),
        (
            Said(
                CLASSIC,
                "pull access denied for registry.example/app, repository does not exist or may "
                "require 'docker login': denied: requested access to the resource is denied",
            ),
            Said(CLASSIC, "denied: requested access to the resource is denied"),
            Said(CONTAINERD, "error from registry: requested access to the resource is denied"),
            Said(
                PODMAN,
                f"{_INITIALIZE}registry.example/app: denied: requested access to the resource is "
                "denied",
            ),
        ),
        "The user may not pull this repository. Many registries say the same of one that they "
        "don't have, so that nobody learns which there are.",
    ),
    Row(
        Kind.REFUSED,
        Speaker.REGISTRY,
        "The request is not accepted",
        ("name invalid", "unexpected status from .*: 4\\d\\d\\b", "statuscode: 4\\d\\d,"),
        (
            Said(CLASSIC, "name invalid: invalid repository name"),
            Said(
                CONTAINERD,
                f"unknown: {_RESOLVE}unexpected status from HEAD request to {_URL}/manifests/1.0: "
                "400 Bad Request",
            ),
            Said(PODMAN, f"{_INITIALIZE}registry.example/app: name invalid: invalid name"),
            Said(PODMAN, f"{_INITIALIZE}registry.example/app: StatusCode: 400, "),
        ),
        "The registry does not accept the request: a name that it does not allow, for one.",
    ),
)

NO_PLATFORM = Row(
    Kind.MISSING,
    Speaker.REGISTRY,
    "Not for this platform",
    (
        "no matching manifest for",
        "no match for platform",
        "no image found in manifest list for architecture",
        "no image found in image index for architecture",
    ),
    (
        Said(CLASSIC, "no matching manifest for linux/amd64 in the manifest list entries"),
        Said(
            CONTAINERD,
            "no matching manifest for linux/amd64 in the manifest list entries: no match for "
            "platform in manifest: not found",
        ),
        Said(
            PODMAN,
            "choosing an image from manifest list docker://registry.example/app:1.0: no image "
            'found in manifest list for architecture amd64, variant "", OS linux',
        ),
    ),
    "The registry has the image for other platforms only.",
    "push it for this node's platform, or ask for one that it has",
)
NO_BLOB = Row(
    Kind.MISSING,
    Speaker.REGISTRY,
    "Part of the image is missing",
    (
        "unknown blob",
        "blob unknown",
        "could not fetch content descriptor .* from remote: not found",
        "fetching blob: invalid status code from registry 404",
    ),
    (
        Said(
            CLASSIC,
            "error pulling image configuration: download failed after attempts=1: unknown blob",
        ),
        Said(
            CONTAINERD,
            "failed to copy: httpReadSeeker: failed open: could not fetch content descriptor "
            "sha256:34cc0982b11c2721b38afb897503d97d50d8203c83b3ba7f12a05e4ed7ab281d "
            "(application/vnd.docker.image.rootfs.diff.tar.gzip) from remote: not found",
        ),
        Said(
            PODMAN,
            "parsing image configuration: Error fetching blob: invalid status code from "
            "registry 404 (Not Found)",
        ),
    ),
    "The registry has the image's manifest, but not all that it names: its storage has lost "
    "something, or a mirror is behind.",
    "push the image again",
)
NO_MANIFEST = Row(
    Kind.MISSING,
    Speaker.REGISTRY,
    "No such tag, digest or repository",
    (
        "manifest unknown",
        "name unknown",
        "repository name not known",
        "^manifest for .*not found",
        "failed to resolve reference.*: not found$",
        "error from registry: .*(not found|unknown|does not exist)",
        "requested image not found",
    ),
    (
        Said(
            CLASSIC,
            "manifest for registry.example/app:1.0 not found: manifest unknown: manifest unknown",
        ),
        Said(
            CLASSIC,
            "repository registry.example/app not found: name unknown: repository name not "
            "known to registry",
        ),
        Said(CONTAINERD, f"{_RESOLVE}registry.example/app:1.0: not found"),
        Said(
            PODMAN,
            f"{_INITIALIZE}registry.example/app: manifest unknown: manifest unknown",
        ),
    ),
    "The registry has no such tag, digest or repository. (Engine 29 says the same where a "
    "proxy answers 404.)",
    "",
)
MISSING = (NO_PLATFORM, NO_BLOB, NO_MANIFEST)
