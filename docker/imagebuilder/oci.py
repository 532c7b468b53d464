"""Images as OCI has them, in one tar that `docker load` and `podman load` take.

Source: OCI image specification, "Image Layout", "Image Configuration", "Image Manifest". The file
`manifest.json` is for versions of docker that do not know this layout.
"""

import json
from dataclasses import dataclass
from typing import Any

from imagebuilder.architectures import Architecture
from imagebuilder.layer import Layer, sha256, write_tar
from imagebuilder.tree import File, Tree

CREATED = "1970-01-01T00:00:00Z"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Running:
    """How containers of an image run."""

    entrypoint: tuple[str, ...]
    arguments: tuple[str, ...]
    environment: dict[str, str]
    user: int
    ports: tuple[str, ...]
    data: str | None
    """The directory that outlives containers."""
    health_command: tuple[str, ...] = ()
    stop_signal: str = "SIGTERM"


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image with everything that is in it."""

    name: str
    version: str
    title: str
    architecture: Architecture
    running: Running
    layers: tuple[Layer, ...]

    @property
    def config(self) -> bytes:
        """The configuration, whose hash is the image's ID."""
        return as_json(
            {
                "created": CREATED,
                **platform_of(self.architecture),
                "config": config_of(self.running, labels_of(self)),
                "rootfs": {"type": "layers", "diff_ids": [one.diff_id for one in self.layers]},
                "history": [{"created": CREATED, "created_by": one.name} for one in self.layers],
            }
        )

    @property
    def manifest(self) -> bytes:
        """What the image consists of; its hash is what the image is pulled by."""
        return as_json(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "config": descriptor(CONFIG_TYPE, self.config),
                "layers": [descriptor(LAYER_TYPE, layer.blob) for layer in self.layers],
                "annotations": labels_of(self),
            }
        )

    @property
    def digest(self) -> str:
        """The hash of the manifest."""
        return sha256(self.manifest)

    @property
    def reference(self) -> str:
        """The name and version by which it is run."""
        return f"{self.name}:{self.version}"

    @property
    def compressed_bytes(self) -> int:
        """How much has to be fetched."""
        return sum(len(layer.blob) for layer in self.layers)

    @property
    def unpacked_bytes(self) -> int:
        """How large its files are together."""
        return sum(layer.unpacked_bytes for layer in self.layers)


def build_archive(image: BuiltImage) -> bytes:
    """The image as one file."""
    blobs = [image.config, image.manifest, *(layer.blob for layer in image.layers)]
    described = descriptor(MANIFEST_TYPE, image.manifest) | {
        "platform": platform_of(image.architecture),
        "annotations": {
            "io.containerd.image.name": f"docker.io/library/{image.reference}",
            "org.opencontainers.image.ref.name": image.version,
        },
    }
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [described]}
    for_docker = {
        "Config": blob_path(image.config),
        "RepoTags": [image.reference],
        "Layers": [blob_path(layer.blob) for layer in image.layers],
    }
    tree: Tree = {blob_path(blob): File(blob) for blob in blobs}
    tree["oci-layout"] = File(as_json({"imageLayoutVersion": "1.0.0"}))
    tree["index.json"] = File(as_json(index))
    tree["manifest.json"] = File(as_json([for_docker]))
    return write_tar(tree)


def config_of(running: Running, labels: dict[str, str]) -> dict[str, Any]:
    """How containers run, as the image's configuration says it."""
    config: dict[str, Any] = {
        "User": f"{running.user}:{running.user}",
        "ExposedPorts": {port: {} for port in running.ports},
        "Env": environment_lines(running.environment),
        "Entrypoint": list(running.entrypoint),
        "Cmd": list(running.arguments),
        "WorkingDir": running.data or "/",
        "StopSignal": running.stop_signal,
        "Labels": labels,
    }
    if running.data:
        config["Volumes"] = {running.data: {}}
    if running.health_command:
        # Not of OCI: docker reads it, others leave it be.
        config["Healthcheck"] = {
            "Test": ["CMD", *running.health_command],
            "Interval": 60 * SECOND,
            "Timeout": 15 * SECOND,
            "StartPeriod": 120 * SECOND,
            "Retries": 3,
        }
    return config


def labels_of(image: BuiltImage) -> dict[str, str]:
    """What the image says of itself."""
    return {
        "org.opencontainers.image.title": image.title,
        "org.opencontainers.image.version": image.version,
        "org.opencontainers.image.licenses": "Apache-2.0",
    }


def environment_lines(environment: dict[str, str]) -> list[str]:
    """An environment as containers get it."""
    return [f"{name}={value}" for name, value in sorted(environment.items())]


def platform_of(architecture: Architecture) -> dict[str, str]:
    """The machine as OCI names it."""
    platform = {"architecture": architecture.oci, "os": "linux"}
    return platform | ({"variant": architecture.variant} if architecture.variant else {})


def descriptor(media_type: str, blob: bytes) -> dict[str, Any]:
    """How one part of an image points to another."""
    return {"mediaType": media_type, "digest": sha256(blob), "size": len(blob)}


def blob_path(blob: bytes) -> str:
    """Where a part lies in the archive."""
    return "blobs/" + sha256(blob).replace(":", "/")


def as_json(value: object) -> bytes:
    """JSON that is always the same for the same value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
