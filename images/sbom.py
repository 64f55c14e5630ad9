#!/usr/bin/env python3
"""Writes the CycloneDX bill of materials of the images: what is inside the binary and the plugins, and Debian's packages.

    images/sbom.py --target TRIPLE [--libc VERSION] [--dpkg-status FILE] >sbom.cdx.json

Crates are those that `cargo metadata` resolves, without what only runs in the compiler, in build scripts and in tests;
their checksums are Cargo.lock's. The format: https://cyclonedx.org/docs/1.5/json/
"""
import argparse
import datetime
import json
import os
import pathlib
import re
import subprocess
import tomllib
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = "wasmount"
PLUGINS = ["wasmount-plugin-s3", "wasmount-plugin-rbd", "wasmount-plugin-cephfs"]


def metadata(target):
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", target]
    return json.loads(subprocess.check_output(command, cwd=ROOT))


def checksums():
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    return {(each["name"], each["version"]): each.get("checksum") for each in lock["package"]}


def linked(data, roots):
    """Package ids reachable from `roots` by ordinary dependencies, and the edges between them."""
    ids = {each["name"]: each["id"] for each in data["packages"] if each["id"] in data["workspace_members"]}
    # They run in the compiler.
    macros = {each["id"] for each in data["packages"] if any("proc-macro" in each_target["kind"] for each_target in each["targets"])}
    nodes = {node["id"]: node for node in data["resolve"]["nodes"]}
    edges, waiting = {}, [ids[root] for root in roots]
    while waiting:
        this = waiting.pop()
        if this in edges:
            continue
        ordinary = lambda dependency: any(kind["kind"] is None for kind in dependency["dep_kinds"])
        edges[this] = sorted({each["pkg"] for each in nodes[this]["deps"] if ordinary(each)} - macros)
        waiting += edges[this]
    return edges


def crate(package, checksum):
    purl = f"pkg:cargo/{package['name']}@{urllib.parse.quote(package['version'])}"
    component = {
        "type": "library",
        "bom-ref": purl,
        "name": package["name"],
        "version": package["version"],
        "purl": purl,
        "scope": "required",
    }
    if package.get("license"):
        # Old crates write `MIT/Apache-2.0`, which is no SPDX expression.
        component["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if checksum:
        component["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return component


def debian(status):
    """Installed packages of a dpkg status file."""
    release = re.compile(r"^(Package|Version|Architecture|Status): (.*)$", re.M)
    for paragraph in pathlib.Path(status).read_text().split("\n\n"):
        fields = dict(release.findall(paragraph))
        if fields.get("Status", "").endswith(" installed"):
            quote = lambda key: urllib.parse.quote(fields[key], safe="")
            purl = f"pkg:deb/debian/{quote('Package')}@{quote('Version')}?arch={fields['Architecture']}"
            yield {"type": "library", "bom-ref": purl, "name": fields["Package"], "version": fields["Version"], "purl": purl}


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--target", required=True, help="of the binary")
    arguments.add_argument("--libc", help="version of Debian's libc6-dev that the binary is linked with")
    arguments.add_argument("--dpkg-status", help="of the root file system")
    arguments = arguments.parse_args()

    sums, components, graph = checksums(), {}, {}
    for target, roots in (arguments.target, [PROGRAM]), ("wasm32-unknown-unknown", PLUGINS):
        data = metadata(target)
        packages = {each["id"]: each for each in data["packages"]}
        edges = linked(data, roots)
        references = {}
        for identity in edges:
            package = packages[identity]
            component = crate(package, sums.get((package["name"], package["version"])))
            references[identity] = component["bom-ref"]
            components[component["bom-ref"]] = component
        for identity, used in edges.items():
            graph.setdefault(references[identity], set()).update(references[each] for each in used)
    toolchain = tomllib.loads((ROOT / "rust-toolchain.toml").read_text())["toolchain"]["channel"]
    further = [{"type": "library", "bom-ref": f"pkg:generic/rust-std@{toolchain}", "name": "rust-std", "version": toolchain,
                "purl": f"pkg:generic/rust-std@{toolchain}"}]
    if arguments.libc:
        purl = f"pkg:deb/debian/libc6-dev@{urllib.parse.quote(arguments.libc, safe='')}"
        further.append({"type": "library", "bom-ref": purl, "name": "libc6-dev", "version": arguments.libc, "purl": purl,
                        "description": "linked statically into wasmount"})
    if arguments.dpkg_status:
        further += debian(arguments.dpkg_status)

    [program] = [each for each in components.values() if each["name"] == PROGRAM]
    del components[program["bom-ref"]]
    subject = {**program, "type": "application"}
    del subject["scope"]
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": subject},
        "components": sorted(components.values(), key=lambda each: each["bom-ref"]) + sorted(further, key=lambda each: each["bom-ref"]),
        "dependencies": [{"ref": ref, "dependsOn": sorted(used)} for ref, used in sorted(graph.items())],
    }
    if "SOURCE_DATE_EPOCH" in os.environ:
        made = datetime.datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), datetime.timezone.utc)
        bom["metadata"]["timestamp"] = made.strftime("%Y-%m-%dT%H:%M:%SZ")
    print(json.dumps(bom, indent=1))


main()
