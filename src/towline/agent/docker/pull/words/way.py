"""What is said of the way to the registry, and of what a node needs for it."""

from __future__ import annotations

from towline.agent.docker.kind import Kind
from towline.agent.docker.pull.words.row import CLASSIC, CONTAINERD, PODMAN, Row, Said, Speaker

_URL = "https://registry.example/v2/"
_D = "sha256:34cc0982b11c2721b38afb897503d97d50d8203c83b3ba7f12a05e4ed7ab281d"
_RESOLVE = 'failed to resolve reference "registry.example/app:1.0": '
_DO = f'{_RESOLVE}failed to do request: Head "{_URL}app/manifests/1.0": '
_PING = (
    "initializing source docker://registry.example/app:1.0: pinging container registry "
    f'registry.example: Get "{_URL}": '
)
_LOOKUP = "dial tcp: lookup registry.example on 192.0.2.53:53: no such host"
_OPEN = "failed to copy: httpReadSeeker: failed open: "
_PAGE = '"<html><head><title>403</title></head></html>"'

LACKING = (
    Row(
        Kind.LACKING,
        Speaker.ENGINE,
        "No access to the engine's socket",
        ("cannot connect to the docker engine.*permission denied",),
        (
            Said(
                "Towline",
                "cannot connect to the Docker Engine at unix:///var/run/docker.sock: Cannot "
                "connect to unix socket /var/run/docker.sock ssl:default [Permission denied]",
            ),
        ),
        "The agent runs as a user who may not use the engine's socket.",
        "the agent's user is not in the group docker: `usermod -aG docker USER`, and start the "
        "agent again",
    ),
    Row(
        Kind.LACKING,
        Speaker.ENGINE,
        "An engine that wants TLS",
        ("^http status 400: client sent an http request to an https server",),
        (Said(CLASSIC, "HTTP status 400: Client sent an HTTP request to an HTTPS server."),),
        "The engine's address (`tcp://…`) is one where it speaks TLS, and the agent does not.",
        "set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH for the agent",
    ),
    Row(
        Kind.LACKING,
        Speaker.ENGINE,
        "A proxy before the engine's socket refuses",
        ("^http status 40[137]\\b",),
        (Said("a socket proxy", "HTTP status 403: <html><body>Forbidden</body></html>"),),
        "What stands before the engine's socket does not let the agent pull.",
        "let it pass POST /images/create and GET /images",
    ),
    Row(
        Kind.LACKING,
        Speaker.ENGINE,
        "The digest's name is taken",
        ("cannot overwrite digest",),
        (Said(CLASSIC, f"Cannot overwrite digest {_D}"),),
        "The engine has an image under this digest's name already, for another platform. The "
        "classic store can't keep both.",
        "take the name away with `docker rmi REPOSITORY@DIGEST` and pull again",
    ),
    Row(
        Kind.LACKING,
        Speaker.WAY,
        "A certificate out of its time",
        ("x509: certificate has expired or is not yet valid",),
        (
            Said(
                CLASSIC,
                f'Get "{_URL}": x509: certificate has expired or is not yet valid: current time '
                "2026-01-01T00:00:00Z is after 2025-01-01T00:00:00Z",
            ),
        ),
        "The registry's certificate has expired, or this node's clock is wrong.",
        "look at the node's clock, or have the registry's certificate renewed",
    ),
    Row(
        Kind.LACKING,
        Speaker.WAY,
        "A certificate for another name",
        ("x509: cannot validate certificate for", "x509: certificate is valid for"),
        (
            Said(
                CLASSIC,
                f'Get "{_URL}": x509: cannot validate certificate for 192.0.2.7 because it '
                "doesn't contain any IP SANs",
            ),
            Said(
                CONTAINERD,
                f"{_DO}tls: failed to verify certificate: x509: cannot validate certificate for "
                "192.0.2.7 because it doesn't contain any IP SANs",
            ),
        ),
        "The registry's certificate is for another name than the image has.",
        "call the registry by the name in its certificate, or have one made for this name",
    ),
    Row(
        Kind.LACKING,
        Speaker.WAY,
        "A certificate that nobody here trusts",
        ("x509:",),
        (
            Said(CLASSIC, f'Get "{_URL}": x509: certificate signed by unknown authority'),
            Said(
                CONTAINERD,
                f"{_DO}tls: failed to verify certificate: x509: certificate signed by unknown "
                "authority",
            ),
            Said(PODMAN, f"{_PING}x509: certificate signed by unknown authority"),
        ),
        "The engine does not know the authority that signed the registry's certificate.",
        "put the authority's certificate into /etc/docker/certs.d/HOST/ca.crt on this node",
    ),
    Row(
        Kind.LACKING,
        Speaker.WAY,
        "Plain HTTP where HTTPS is wanted",
        ("server gave http response to https client",),
        (
            Said(CLASSIC, f'Get "{_URL}": http: server gave HTTP response to HTTPS client'),
            Said(CONTAINERD, f"{_DO}http: server gave HTTP response to HTTPS client"),
            Said(PODMAN, f"{_PING}http: server gave HTTP response to HTTPS client"),
        ),
        "The registry speaks plain HTTP, and the engine wants HTTPS.",
        "serve the registry over TLS, or name it in the engine's `insecure-registries`",
    ),
    Row(
        Kind.LACKING,
        Speaker.WAY,
        "The engine's proxy wants a login",
        ("proxy authentication required",),
        (
            Said(CLASSIC, f'Get "{_URL}": Proxy Authentication Required'),
            Said(CONTAINERD, f"{_DO}Proxy Authentication Required"),
        ),
        "The engine's proxy wants a login.",
        "put user and password into the engine's HTTPS_PROXY",
    ),
    Row(
        Kind.LACKING,
        Speaker.WAY,
        "The engine's proxy refuses",
        ("(?:get|head) +: forbidden$",),
        (
            Said(CLASSIC, f'Get "{_URL}": Forbidden'),
            Said(CONTAINERD, f"{_DO}Forbidden"),
        ),
        "The engine's proxy does not let it through to the registry.",
        "have the engine's proxy allow the registry's host, or name it in the engine's NO_PROXY",
    ),
)

BETWEEN = (
    Row(
        Kind.BETWEEN,
        Speaker.WAY,
        "A page in place of the registry's answer",
        (
            "invalid character '<'",
            "\\(text/html\\) from remote: not found",
            "unexpected media type text/html",
            "statuscode: 4\\d\\d, <",
        ),
        (
            Said(
                CLASSIC,
                "error parsing HTTP 403 response body: invalid character '<' looking for beginning "
                f"of value: {_PAGE}",
            ),
            Said(
                CLASSIC,
                "error unmarshalling content: invalid character '<' looking for beginning of value",
            ),
            Said(
                CONTAINERD,
                f"{_OPEN}could not fetch content descriptor {_D} (text/html) from remote: not "
                "found",
            ),
            Said(
                CONTAINERD,
                "failed to unpack image on snapshotter overlayfs: unexpected media type text/html "
                f"for {_D}: not found",
            ),
            Said(
                PODMAN,
                "initializing image from source docker://registry.example/app:1.0: invalid "
                "character '<' looking for beginning of value",
            ),
            Said(
                PODMAN,
                "initializing source docker://registry.example/app:1.0: reading manifest 1.0 in "
                "registry.example/app: StatusCode: 403, <html><head><title>403</title>...",
            ),
        ),
        "A page came in place of the registry's answer: from a proxy, a gateway, a captive portal, "
        "or the storage behind the registry.",
        "a proxy or the storage behind the registry answered, not the registry",
    ),
    Row(
        Kind.BETWEEN,
        Speaker.WAY,
        "An answer without a registry's words",
        (
            "unexpected status from .* <elsewhere>: 4\\d\\d\\b",
            "unexpected status from \\S+ request to <registry>: 403\\b",
            "error parsing http 4(?!29|08|21|25)\\d\\d response body",
            "fetching blob: invalid status code from registry 4(?!29|04)\\d\\d",
            "statuscode: 40[345], *$",
        ),
        (
            Said(
                CLASSIC,
                'error parsing HTTP 403 response body: unexpected end of JSON input: ""',
            ),
            Said(
                CONTAINERD,
                f"unknown: {_OPEN}unexpected status from GET request to "
                "https://storage.example/blobs/34cc?signature=d41d8c: 403 Forbidden",
            ),
            Said(
                CONTAINERD,
                f"unknown: {_RESOLVE}unexpected status from HEAD request to {_URL}app/manifests/"
                "1.0: 403 Forbidden",
            ),
            Said(
                PODMAN,
                "parsing image configuration: Error fetching blob: invalid status code from "
                "registry 403 (Forbidden)",
            ),
        ),
        "Something answered without the words that a registry has for it: the storage that the "
        "registry sends engines to for layers (the address that it signed has expired, the node's "
        "clock is wrong), or a proxy.",
        "not in a registry's words: from a proxy or the storage behind it, most likely",
    ),
)

PASSING = (
    Row(
        Kind.PASSING,
        Speaker.ENGINE,
        "The engine stops or restarts",
        (
            "context canceled",
            "transport is closing",
            "error while dialing",
            "failed to send write: (?:eof|error reading from server)",
            "error creating lease",
        ),
        (
            Said(CONTAINERD, "failed to copy: failed to send write: EOF"),
            Said(
                CONTAINERD,
                "failed to copy: failed to send write: error reading from server: connection reset "
                "by peer",
            ),
            Said(
                CLASSIC,
                'error creating lease: connection error: desc = "transport: Error while dialing '
                'dial unix /run/containerd/containerd.sock: connect: connection refused": '
                "unavailable",
            ),
        ),
        "The engine, or its containerd, stops or restarts.",
    ),
    Row(
        Kind.PASSING,
        Speaker.WAY,
        "The engine's proxy can't be reached",
        ("proxyconnect",),
        (
            Said(
                CLASSIC,
                f'Get "{_URL}": proxyconnect tcp: dial tcp 192.0.2.7:3128: connect: connection '
                "refused",
            ),
            Said(
                CONTAINERD,
                f"{_DO}proxyconnect tcp: dial tcp 192.0.2.7:3128: connect: connection refused",
            ),
        ),
        "The engine's proxy can't be reached.",
        "the engine goes through a proxy: see its HTTPS_PROXY",
    ),
    Row(
        Kind.PASSING,
        Speaker.WAY,
        "A name that is not found",
        ("no such host", "server misbehaving", "temporary failure in name resolution"),
        (
            Said(
                CLASSIC,
                f'Get "{_URL}": dial tcp: lookup registry.example on 192.0.2.53:53: no such host',
            ),
            Said(
                CONTAINERD, f"{_DO}dial tcp: lookup registry.example on 192.0.2.53:53: no such host"
            ),
            Said(
                PODMAN, f"{_PING}dial tcp: lookup registry.example on 192.0.2.53:53: no such host"
            ),
        ),
        "The name server does not know the registry's name, or fails: for a while, or because the "
        "name is wrong.",
    ),
    Row(
        Kind.PASSING,
        Speaker.WAY,
        "No connection, or a broken one",
        (
            "connection refused",
            "connection reset",
            "broken pipe",
            "no route to host",
            "network is unreachable",
            "connection timed out",
            "happened during read: unexpected eof",
            "\\beof$",
        ),
        (
            Said(CLASSIC, f'Get "{_URL}": dial tcp 192.0.2.7:443: connect: connection refused'),
            Said(
                CLASSIC,
                "read tcp 192.0.2.4:47984->192.0.2.7:443: read: connection reset by peer",
            ),
            Said(CLASSIC, "unexpected EOF"),
            Said(CONTAINERD, f"{_DO}dial tcp 192.0.2.7:443: connect: connection refused"),
            Said(
                CONTAINERD,
                "failed to copy: read tcp 192.0.2.4:47984->192.0.2.7:443: read: connection reset "
                "by peer",
            ),
            Said(CONTAINERD, f"{_DO}EOF"),
            Said(CONTAINERD, "short read: expected 239 bytes but got 73: unexpected EOF"),
            Said(
                PODMAN,
                'writing blob: storing blob to file "/var/tmp/storage4956/1": happened during '
                "read: read tcp 192.0.2.4:47984->192.0.2.7:443: read: connection reset by peer",
            ),
        ),
        "The registry, or what lies before it, is not there, or hung up.",
    ),
    Row(
        Kind.PASSING,
        Speaker.WAY,
        "No answer in time",
        (
            "i/o timeout",
            "tls handshake timeout",
            "client\\.timeout",
            "timeout awaiting response headers",
            "deadline exceeded",
            "request canceled",
        ),
        (
            Said(CLASSIC, f'Get "{_URL}": net/http: TLS handshake timeout'),
            Said(CONTAINERD, f"{_DO}net/http: TLS handshake timeout"),
            Said(PODMAN, f"{_PING}net/http: TLS handshake timeout"),
        ),
        "No answer came in the time that the engine gives it.",
    ),
    Row(
        Kind.PASSING,
        Speaker.WAY,
        "The registry fails",
        (
            "unexpected http status: 5\\d\\d",
            "unexpected status from .*: (?:5\\d\\d|408|421|425)\\b",
            "parsing http (?:5\\d\\d|408|421|425) response",
            "invalid status code from registry 5\\d\\d",
            "statuscode: 5\\d\\d,",
            "error from registry: (?:unknown|unavailable)\\b",
            "(?:get|head) +: (?:service unavailable|bad gateway|gateway timeout)$",
        ),
        (
            Said(CLASSIC, "received unexpected HTTP status: 503 Service Unavailable"),
            Said(CLASSIC, f'Get "{_URL}": Service Unavailable'),
            Said(
                CONTAINERD,
                f"unknown: {_RESOLVE}unexpected status from HEAD request to {_URL}app/manifests/"
                "1.0: 502 Bad Gateway",
            ),
            Said(CONTAINERD, "error from registry: unavailable\nunavailable"),
            Said(CONTAINERD, f"{_DO}Service Unavailable"),
        ),
        "The registry, or a proxy before it, is overloaded or restarts.",
    ),
)
