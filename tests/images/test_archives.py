"""What images are written as: the same bytes for the same content, as container tools want it."""

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

from imagebuilder import livekit
from imagebuilder.__main__ import write
from imagebuilder.architectures import ARMV7
from imagebuilder.artifact import Artifact
from imagebuilder.bundle import build_bundle
from imagebuilder.layer import build_layer
from imagebuilder.lock import Lock
from imagebuilder.oci import BuiltImage, build_archive
from imagebuilder.sbom import build_sbom
from imagebuilder.tree import Directory, File, Link, Tree, normal_path, resolve
from imagebuilder.workshop import RUNNING, Product

TREE: Tree = {
    "usr/bin/hearth": File(b"program", executable=True),
    "etc/passwd": File(b"root"),
    "bin": Link("usr/bin"),
    "data": Directory(0o700, 991),
}


def image() -> BuiltImage:
    return BuiltImage("hearth", "1.2", "a title", ARMV7, RUNNING, (build_layer("all", TREE),))


def members(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        found = {one.name: opened.extractfile(one) for one in opened if one.isfile()}
        return {name: content.read() for name, content in found.items() if content is not None}


def test_the_order_in_which_a_tree_was_made_does_not_matter() -> None:
    backwards = dict(reversed(TREE.items()))
    assert build_layer("one", TREE).digest == build_layer("one", backwards).digest


def test_a_layer_has_owners_modes_and_no_time() -> None:
    tar = gzip.decompress(build_layer("one", TREE).blob)
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        found = {one.name: one for one in opened}
    assert (found["data"].uid, found["data"].mode) == (991, 0o700)
    assert (found["usr/bin/hearth"].uid, found["usr/bin/hearth"].mode) == (0, 0o755)
    assert found["usr/bin"].isdir()
    assert found["bin"].linkname == "usr/bin"
    assert {one.mtime for one in found.values()} == {0}


def test_an_archive_is_an_image_layout_whose_parts_are_named_by_their_hashes() -> None:
    found = members(build_archive(image()))
    for name, data in found.items():
        if name.startswith("blobs/sha256/"):
            assert name.endswith(hashlib.sha256(data).hexdigest())
    (described,) = json.loads(found["index.json"])["manifests"]
    assert described["platform"] == {"architecture": "arm", "os": "linux", "variant": "v7"}
    assert described["digest"] == image().digest
    manifest = json.loads(found["blobs/" + described["digest"].replace(":", "/")])
    config = json.loads(found["blobs/" + manifest["config"]["digest"].replace(":", "/")])
    layers = [found["blobs/" + one["digest"].replace(":", "/")] for one in manifest["layers"]]
    unpacked = [hashlib.sha256(gzip.decompress(layer)).hexdigest() for layer in layers]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{one}" for one in unpacked]


def test_an_archive_can_be_loaded_by_older_tools_too() -> None:
    found = members(build_archive(image()))
    (described,) = json.loads(found["manifest.json"])
    assert described["RepoTags"] == ["hearth:1.2"]
    assert {described["Config"], *described["Layers"]} <= found.keys()


def test_containers_run_as_an_unprivileged_user_and_say_how_they_are() -> None:
    config = json.loads(image().config)["config"]
    assert config["User"] == "991:991"
    assert config["StopSignal"] == "SIGTERM"
    assert config["Entrypoint"] + config["Cmd"] == [
        "/usr/bin/hearth",
        "run",
        "--config",
        "/config/hearth.toml",
    ]
    assert config["Healthcheck"]["Test"] == ["CMD", "/usr/bin/hearth", "health"]


def test_a_bundle_may_write_nothing_but_its_data() -> None:
    found = members(gzip.decompress(build_bundle(image(), TREE)))
    assert found["rootfs/usr/bin/hearth"] == b"program"
    config = json.loads(found["config.json"])
    process = config["process"]
    assert config["root"] == {"path": "rootfs", "readonly": True}
    assert process["user"] == {"uid": 991, "gid": 991}
    assert process["noNewPrivileges"]
    assert not any(process["capabilities"].values())
    disks = [one for one in config["mounts"] if one["type"] == "bind" and "rw" in one["options"]]
    assert [one["destination"] for one in disks] == ["/data"]
    assert {one["type"] for one in config["linux"]["namespaces"]} >= {"mount", "pid", "ipc"}


def test_a_bill_of_materials_has_every_package_with_its_hash() -> None:
    lock = Lock(
        debian=(Artifact("libc6", "2.36-9+deb12u1", "a" * 64),),
        wheels=(Artifact("aiohttp", "3.14.5", "b" * 64),),
    )
    bill = json.loads(build_sbom(image(), lock))
    assert bill["bomFormat"] == "CycloneDX"
    assert [one["purl"] for one in bill["components"]] == [
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u1?arch=armhf&distro=debian-12",
        "pkg:pypi/aiohttp@3.14.5",
    ]
    assert bill["components"][1]["hashes"] == [{"alg": "SHA-256", "content": "b" * 64}]
    assert bill["metadata"]["component"]["bom-ref"] == image().digest
    assert build_sbom(image(), lock) == build_sbom(image(), lock)


def test_paths_are_those_of_a_merged_usr() -> None:
    assert normal_path("./lib/x86_64-linux-gnu/libc.so.6") == "usr/lib/x86_64-linux-gnu/libc.so.6"
    assert normal_path("/etc/passwd") == "etc/passwd"


def test_links_are_followed_to_their_end_and_not_in_circles() -> None:
    tree: Tree = {
        "usr/lib/a": Link("/lib/b"),
        "usr/lib/b": Link("c"),
        "usr/lib/c": File(b"here"),
        "usr/lib/round": Link("round"),
        "usr/lib/nowhere": Link("missing"),
    }
    assert resolve(tree, "/lib/a") == ["usr/lib/a", "usr/lib/b", "usr/lib/c"]
    assert resolve(tree, "/lib/round") == []
    assert resolve(tree, "/lib/nowhere") == []


def test_the_image_of_livekit_has_one_program_and_its_modules_in_the_bill() -> None:
    tree = livekit.build_tree(b"program", b"certificates")
    layers = (build_layer("livekit", tree),)
    made = BuiltImage("livekit", "1.13.5", "a title", ARMV7, livekit.RUNNING, layers)
    assert [path for path in tree if path.startswith("usr/")] == ["usr/bin/livekit-server"]
    config = json.loads(made.config)["config"]
    assert config["Entrypoint"] == ["/usr/bin/livekit-server", "--config", "/config/livekit.yaml"]
    assert config["User"] == "991:991"
    module = livekit.GoModule("github.com/pion/webrtc/v4", "v4.1.0", "h1:abc=")
    (component,) = json.loads(build_sbom(made, Lock(debian=()), [module]))["components"]
    assert component["purl"] == "pkg:golang/github.com/pion/webrtc/v4@v4.1.0"
    assert component["properties"] == [{"name": "go.sum", "value": "h1:abc="}]


def test_files_are_listed_with_their_hashes(tmp_path: Path) -> None:
    write(Product(image(), TREE, Lock(debian=())), tmp_path)
    stem = "hearth-1.2-armv7"
    endings = ("bundle.tar.gz", "cdx.json", "oci.tar")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "SHA256SUMS",
        *(f"{stem}.{ending}" for ending in endings),
    ]
    checked = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=tmp_path, check=False)
    assert checked.returncode == 0
