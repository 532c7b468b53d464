"""What an image is made of, as a bill of materials in CycloneDX.

Source: CycloneDX 1.5, JSON. It has neither time nor random numbers, so that it comes out the same
for the same image.
"""

import json
import uuid
from collections.abc import Iterable
from typing import Any

from imagebuilder.artifact import Artifact
from imagebuilder.livekit import GoModule
from imagebuilder.lock import Lock
from imagebuilder.oci import BuiltImage

DEBIAN = "debian-12"
OURS = "Apache-2.0"


def build_sbom(image: BuiltImage, lock: Lock, modules: Iterable[GoModule] = ()) -> bytes:
    """The bill of materials of an image that was made of what is locked, and of modules of Go."""
    components = [
        *(debian_component(one, image) for one in lock.debian),
        *(
            component(one, f"pkg:pypi/{one.name}@{one.version}")
            for one in (*lock.wheels, *lock.sdists)
        ),
        *(go_component(one) for one in modules),
    ]
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, image.digest)}",
        "version": 1,
        "metadata": {"component": image_component(image)},
        "components": components,
        "dependencies": [
            {"ref": image.digest, "dependsOn": [one["bom-ref"] for one in components]}
        ],
    }
    return json.dumps(bill, indent=1, sort_keys=True).encode()


def image_component(image: BuiltImage) -> dict[str, Any]:
    """The image itself."""
    layers = [{"name": "layer", "value": layer.digest} for layer in image.layers]
    return {
        "type": "container",
        "bom-ref": image.digest,
        "name": image.name,
        "version": image.version,
        "purl": f"pkg:oci/{image.name}@{image.digest.replace(':', '%3A')}",
        "hashes": [{"alg": "SHA-256", "content": image.digest.partition(":")[2]}],
        "licenses": [{"license": {"id": OURS}}],
        "properties": [{"name": "platform", "value": image.architecture.platform}, *layers],
    }


def debian_component(artifact: Artifact, image: BuiltImage) -> dict[str, Any]:
    """A package of Debian."""
    version = artifact.version.replace("+", "%2B").replace(":", "%3A")
    where = f"arch={image.architecture.debian}&distro={DEBIAN}"
    return component(artifact, f"pkg:deb/debian/{artifact.name}@{version}?{where}")


def go_component(module: GoModule) -> dict[str, Any]:
    """A module of Go, whose hash is one of Go's own kind."""
    purl = f"pkg:golang/{module.path}@{module.version}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": module.path,
        "version": module.version,
        "purl": purl,
        "properties": [{"name": "go.sum", "value": module.sum}],
    }


def component(artifact: Artifact, purl: str) -> dict[str, Any]:
    """One thing that the image is made of."""
    return {
        "type": "library",
        "bom-ref": purl,
        "name": artifact.name,
        "version": artifact.version,
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": artifact.sha256}],
    }
