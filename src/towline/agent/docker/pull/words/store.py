"""What engines' stores say: of their disk, of what they can hold, and of what came."""

from __future__ import annotations

from towline.agent.docker.kind import Kind
from towline.agent.docker.pull.words.row import CLASSIC, CONTAINERD, PODMAN, Row, Said, Speaker

_D = "sha256:34cc0982b11c2721b38afb897503d97d50d8203c83b3ba7f12a05e4ed7ab281d"
_E = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
_REGISTER = "failed to register layer: "
_TAR = f"{_REGISTER}Error processing tar file(exit status 1): "
_EXTRACT = (
    f"failed to extract layer (application/vnd.docker.image.rootfs.diff.tar.gzip {_D}) to "
    f'overlayfs as "extract-146581483-KGYU {_D}": '
)
_CONTAINERD_ROOT = "/var/lib/containerd"
_MOUNT = f"{_EXTRACT}mount callback failed on {_CONTAINERD_ROOT}/tmpmounts/containerd-mount1838: "
_INGEST = f"{_CONTAINERD_ROOT}/io.containerd.content.v1.content/ingest/6f70"
_SNAPSHOT = (
    f'failed to prepare extraction snapshot "extract-306167279-HcJ6 {_D}": failed to create '
    "prepare snapshot dir: failed to create temp dir: mkdir "
    f"{_CONTAINERD_ROOT}/io.containerd.snapshotter.v1.overlayfs/snapshots/new-3533: "
)
_COMMIT = f'failed commit on ref "layer-{_D}": commit failed: '
_STORING = 'writing blob: storing blob to file "/var/tmp/storage1607376779/1": '
_ADDING = f'writing blob: adding layer with blob "{_D}": '
_EXIT = "exit status 1"
_CALLS = (
    "(?:mkdir|open|openat|creat|write|rename|symlink|link|chmod|stat|lstat|remove|unlink|mount|mknod|"
    "setxattr|lsetxattr|utimensat)"
)

UNSTORABLE = (
    Row(
        Kind.UNSTORABLE,
        Speaker.STORE,
        "The disk is full",
        ("no space left on device", "disk quota exceeded"),
        (
            Said(CLASSIC, "write /var/lib/docker/tmp/GetImageBlob827672: no space left on device"),
            Said(CLASSIC, f"{_TAR}write /data: no space left on device"),
            Said(
                CONTAINERD,
                f"failed to copy: failed to send write: write {_INGEST}/data: no space left on "
                "device",
            ),
            Said(
                CONTAINERD,
                f"{_MOUNT}write {_CONTAINERD_ROOT}/tmpmounts/containerd-mount1838/data: no space "
                "left on device",
            ),
            Said(
                PODMAN,
                f"{_ADDING}ApplyLayer stdout:  stderr: write /data: no space left on device "
                f"{_EXIT}",
            ),
        ),
        "The disk with the engine's images is full, or a quota on it.",
        "make room on the disk with the engine's images",
    ),
    Row(
        Kind.UNSTORABLE,
        Speaker.STORE,
        "The disk is read-only",
        ("read-only file system",),
        (
            Said(CLASSIC, "open /var/lib/docker/tmp/GetImageBlob188145: read-only file system"),
            Said(
                CLASSIC,
                f"{_REGISTER}mkdir /var/lib/docker/overlay2/041df5: read-only file system",
            ),
            Said(CONTAINERD, f"mkdir {_INGEST}: read-only file system"),
            Said(CONTAINERD, f"{_SNAPSHOT}read-only file system"),
            Said(
                PODMAN,
                f'{_ADDING}creating layer with ID "f4bdd29ea28c": mkdir '
                "/var/lib/containers/storage/vfs/dir/f4bdd29ea28c: read-only file system",
            ),
        ),
        "The disk with the engine's images is mounted read-only; Linux does that by itself after "
        "errors of the disk.",
        "look into the kernel's log, and mount the disk with the engine's images writable",
    ),
    Row(
        Kind.UNSTORABLE,
        Speaker.STORE,
        "The engine may not write to its own store",
        (f"{_CALLS} \\S*/.*: (?:permission denied|operation not permitted)",),
        (
            Said(CLASSIC, "open /var/lib/docker/tmp/GetImageBlob865221: permission denied"),
            Said(CLASSIC, f"{_REGISTER}mkdir /var/lib/docker/overlay2/041df5: permission denied"),
            Said(CONTAINERD, f"mkdir {_INGEST}: permission denied"),
            Said(CONTAINERD, f"{_SNAPSHOT}permission denied"),
        ),
        "The engine may not write where it keeps its images: the directory's owner or mode was "
        "changed, or a security module stands before it. It is not the registry that denies.",
        "let the engine write to the directory with its images",
    ),
    Row(
        Kind.UNSTORABLE,
        Speaker.STORE,
        "Owners beyond the engine's user namespace",
        (
            "cannot be mapped to a host id",
            "\\blchown\\b.*(?:invalid argument|operation not permitted)",
            "insufficient uids or gids",
        ),
        (
            Said(CLASSIC, f"{_TAR}Container ID 4294967295 cannot be mapped to a host ID"),
            Said(
                CLASSIC,
                f"{_REGISTER}ApplyLayer exit status 1 stdout:  stderr: lchown /data: invalid "
                "argument",
                "moby/moby#43576",
            ),
            Said(
                "Engine 23.0",
                f"{_REGISTER}ApplyLayer exit status 1 stdout:  stderr: failed to Lchown "
                '"/data" for UID 718322462, GID 454177323 (try increasing the number of '
                "subordinate IDs in /etc/subuid and /etc/subgid): lchown /data: invalid argument",
                "stonith404/pingvin-share#123",
            ),
        ),
        "A file of the image has an owner beyond those that the engine's user namespace has "
        "(`userns-remap`, or an engine without root).",
        "give the engine's user more ids in /etc/subuid and /etc/subgid, or build the image with "
        "lower ones",
    ),
    Row(
        Kind.UNSTORABLE,
        Speaker.STORE,
        "Too many layers",
        ("max depth exceeded",),
        (Said(CLASSIC, f"{_REGISTER}max depth exceeded"),),
        "The image has more layers than the classic store can put on each other: 127 with one of "
        "its own.",
        "build the image with fewer layers",
    ),
    Row(
        Kind.UNSTORABLE,
        Speaker.STORE,
        "A layer that this engine can't unpack",
        (
            "error processing tar file\\(.*invalid tar header",
            "no processor for media-type",
            "unsupported docker v2s2 media type",
        ),
        (
            Said(CLASSIC, f"{_TAR}archive/tar: invalid tar header"),
            Said(
                CONTAINERD,
                f"failed to extract layer (application/vnd.docker.image.rootfs.diff.tar.zstd {_D}) "
                f'to overlayfs as "extract-995850110-iXut {_D}": failed to get stream processor '
                "for application/vnd.docker.image.rootfs.diff.tar.zstd: no processor for "
                "media-type",
            ),
            Said(
                PODMAN,
                "initializing image from source docker://registry.example/app:1.0: unsupported "
                'docker v2s2 media type: "application/vnd.docker.image.rootfs.diff.tar.zstd"',
            ),
        ),
        "A layer is packed in a way that this engine can't read: with Zstandard, most likely, "
        "which engines before 23.0 don't know, and the others only in images of the OCI form. "
        "(The classic store says the same of a layer that is no archive at all.)",
        "upgrade the engine, or push the image with layers that are packed with gzip",
    ),
    Row(
        Kind.UNSTORABLE,
        Speaker.ENGINE,
        "A plugin, and no image",
        ("encountered remote .*\\(plugin\\)",),
        (
            Said(
                CLASSIC,
                'Encountered remote "application/vnd.docker.plugin.v1+json"(plugin) when fetching',
            ),
        ),
        "It is a plugin for the Docker Engine, and no image.",
        "install it with `docker plugin install`",
    ),
    Row(
        Kind.UNSTORABLE,
        Speaker.STORE,
        "A plugin, or a prune under the pull",
        ("apply layer error for.*failed to get reader from content store",),
        (
            Said(
                CONTAINERD,
                "failed to unpack image on snapshotter overlayfs: apply layer error for "
                f'"registry.example/app:1.0": failed to extract layer {_D}: NotFound: failed to '
                f"get reader from content store: content digest {_E}: not found",
            ),
        ),
        "It is a plugin for the Docker Engine, and no image; or a prune of images took away what "
        "the pull had fetched.",
        attempts=3,
    ),
    Row(
        Kind.UNSTORABLE,
        Speaker.ENGINE,
        "No container image",
        (
            "unsupported media type",
            "mismatched image rootfs and manifest layers",
            "unsupported image-specific operation on artifact",
            "unsupported manifest",
            "mediatype in manifest should be",
        ),
        (
            Said(CLASSIC, "unsupported media type application/vnd.cncf.helm.config.v1+json"),
            Said(
                CONTAINERD,
                "failed to unpack image on snapshotter overlayfs: mismatched image rootfs and "
                "manifest layers",
            ),
            Said(
                PODMAN,
                "parsing image configuration: unsupported image-specific operation on artifact "
                'with type "application/vnd.cncf.helm.config.v1+json"',
            ),
        ),
        "What the registry has under this name is no container image: a Helm chart, say, or a "
        "signature.",
    ),
    Row(
        Kind.UNSTORABLE,
        Speaker.ENGINE,
        "An image of an old form",
        ("is no longer supported since containerd",),
        (
            Said(
                CONTAINERD,
                'failed to resolve reference "registry.example/app:1.0": not implemented: media '
                'type "application/vnd.docker.distribution.manifest.v1+prettyjws" is no longer '
                "supported since containerd v2.0, please rebuild the image as "
                '"application/vnd.docker.distribution.manifest.v2+json" or '
                '"application/vnd.oci.image.manifest.v1+json"',
            ),
        ),
        "The image has the form of before 2016 (schema 1).",
        "pull it with an older engine and push it from there",
    ),
    Row(
        Kind.UNSTORABLE,
        Speaker.ENGINE,
        "For another operating system",
        ("image operating system", "cannot be used on this platform"),
        (Said(CLASSIC, 'image operating system "windows" cannot be used on this platform'),),
        "The image is for another operating system.",
        "push one for this node's",
    ),
)

DAMAGED = (
    Row(
        Kind.DAMAGED,
        Speaker.STORE,
        "Put together wrongly",
        (
            "layers from manifest don't match image configuration",
            "wrong diff id",
            "mismatched diff",
        ),
        (
            Said(CLASSIC, "layers from manifest don't match image configuration"),
            Said(
                CONTAINERD,
                f'wrong diff id "{_D}" calculated on extraction "{_E}", desc "{_D}"',
            ),
        ),
        "The image was put together wrongly: its layers are not those that its configuration "
        "names. Each came as the registry has it.",
        "build and push the image again",
        attempts=1,
    ),
    Row(
        Kind.DAMAGED,
        Speaker.STORE,
        "Not what its digest says",
        (
            "unexpected commit digest",
            "unexpected commit size",
            "failed size validation",
            "(?:layer|image|config|manifest) verification failed for digest",
            "digest did not match, expected",
            "digest +does not match expected",
            "manifest does not match provided manifest digest",
        ),
        (
            Said(CLASSIC, f"filesystem layer verification failed for digest {_D}"),
            Said(
                CLASSIC,
                "error pulling image configuration: download failed after attempts=1: image config "
                f"verification failed for digest {_D}",
            ),
            Said(CLASSIC, f"manifest verification failed for digest {_D}"),
            Said(
                CONTAINERD,
                f"{_COMMIT}unexpected commit digest {_E}, expected {_D}: failed precondition",
            ),
            Said(
                PODMAN,
                f"{_STORING}happened during read: Digest did not match, expected {_D}, got {_E}",
            ),
            Said(
                PODMAN,
                f"parsing image configuration: Download config.json digest {_E} does not match "
                f"expected {_D}",
            ),
            Said(
                PODMAN,
                "determining manifest MIME type for docker://registry.example/app@sha256:28f6: "
                f"Manifest does not match provided manifest digest {_D}",
            ),
        ),
        "What arrived is not what its digest says. It was changed on the way (a proxy that answers "
        "with a page of its own, memory that fails), or the registry's storage is damaged.",
        "if it stays so, push the image again",
    ),
    Row(
        Kind.DAMAGED,
        Speaker.STORE,
        "A layer that is no whole archive",
        (
            "(?:processing tar file|applylayer|mount callback failed|failed to extract layer).*"
            "(?:unexpected eof|gzip: invalid|flate: corrupt|invalid tar header|magic number)",
            "(?:processing tar file|mount callback failed).*\\blink /\\S+ /\\S+: no such file",
            "(?:processing tar file\\(|applylayer .*stderr: ).*no such file or directory",
            "storing blob to file +: (?:unexpected eof|gzip: |flate: )",
        ),
        (
            Said(CLASSIC, f"{_TAR}unexpected EOF"),
            Said(CLASSIC, f"{_REGISTER}Error processing tar file(gzip: invalid checksum): "),
            Said(CLASSIC, f"{_TAR}link /nowhere /data: no such file or directory"),
            Said(CONTAINERD, f"{_MOUNT}unexpected EOF"),
            Said(CONTAINERD, f"{_EXTRACT}gzip: invalid checksum"),
            Said(CONTAINERD, f"{_MOUNT}archive/tar: invalid tar header"),
            Said(PODMAN, f"{_STORING}unexpected EOF"),
            Said(PODMAN, f"{_STORING}gzip: invalid checksum"),
            Said(PODMAN, f"{_ADDING}processing tar file(archive/tar: invalid tar header): {_EXIT}"),
            Said(PODMAN, f"{_ADDING}processing tar file(no such file or directory): {_EXIT}"),
            Said(PODMAN, f"{_ADDING}ApplyLayer stdout:  stderr: unexpected EOF {_EXIT}"),
        ),
        "A layer is no whole archive, though it came as the registry has it.",
        "build and push the image again",
    ),
)

REMOVED = (
    Row(
        Kind.PASSING,
        Speaker.STORE,
        "Taken away under the pull",
        (
            "no such file or directory",
            "(?:\\blease\\b|parent snapshot|content (?:store|digest)).*(?:not exist|not ?found)",
            "(?:register|extract|apply|unpack|prepare|commit)\\b.*(?:does not exist|not found)$",
        ),
        (
            Said(CLASSIC, "open /var/lib/docker/tmp/GetImageBlob357610: no such file or directory"),
            Said(
                CLASSIC,
                f"{_REGISTER}symlink ../15df82/diff /var/lib/docker/overlay2/l/TQ6ZZL: no such "
                "file or directory",
            ),
            Said(
                CONTAINERD,
                f"{_COMMIT}rename {_INGEST}/data {_CONTAINERD_ROOT}/io.containerd.content.v1."
                "content/blobs/sha256/27d6: no such file or directory",
            ),
            Said(CONTAINERD, f"mkdir {_INGEST}: no such file or directory"),
            Said(
                CONTAINERD,
                f"{_COMMIT}lease does not exist: not found",
            ),
            Said(
                CONTAINERD,
                f"failed to check image {_D}: rpc error: code = NotFound desc = content digest "
                f"{_D}: not found",
            ),
            Said(
                CONTAINERD,
                f'failed to prepare extraction snapshot "extract-549308819-2Mnm {_D}": parent '
                f"snapshot {_E} does not exist: not found",
                "containerd/containerd#10835",
            ),
        ),
        "Something took away what the store had of the pull: a prune of images meanwhile, or "
        "somebody who cleared its directory. It is not the registry that lacks anything.",
    ),
)
