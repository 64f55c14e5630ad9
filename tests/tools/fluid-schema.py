#!/usr/bin/env python3
"""Extracts field names and types of Fluid's custom resources, for the tests of images/examples.

    fluid-schema.py CLONE COMMIT >tests/fixtures/fluid/crds.json      (needs git and python3-yaml)

What has no part in validation (descriptions, defaults, formats, columns, status) is left out.
"""
import json
import subprocess
import sys

import yaml

CLONE, COMMIT = sys.argv[1:]
FOLDER = "config/crd/bases"
# As far as tests/support/fluid/schema.rs checks them, which refuses any other.
KEPT = {"type", "properties", "required", "items", "additionalProperties", "enum", "minLength", "minItems",
        "x-kubernetes-int-or-string"}


def stripped(schema):
    kept = {key: value for key, value in schema.items() if key in KEPT}
    if "properties" in kept:
        kept["properties"] = {name: stripped(each) for name, each in kept["properties"].items()}
    for key in "items", "additionalProperties":
        if isinstance(kept.get(key), dict):
            kept[key] = stripped(kept[key])
    return kept


def read(plural):
    path = f"{FOLDER}/data.fluid.io_{plural}.yaml"
    definition = yaml.safe_load(subprocess.check_output(["git", "-C", CLONE, "show", f"{COMMIT}:{path}"]))["spec"]
    [version] = definition["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return definition["names"]["kind"], {
        "file": path,
        "apiVersion": f"{definition['group']}/{version['name']}",
        "scope": definition["scope"],
        "spec": stripped(spec),
    }


kinds = dict(read(plural) for plural in ("datasets", "thinruntimes", "thinruntimeprofiles"))
head = {"source": "https://github.com/fluid-cloudnative/fluid", "commit": COMMIT, "extracted_by": "tests/tools/fluid-schema.py"}
print("{" + json.dumps(head, indent=0).strip("{}\n") + ",\n\"kinds\": {")
print(",\n".join(f"{json.dumps(kind)}: {json.dumps(body, sort_keys=True, separators=(',', ':'))}" for kind, body in kinds.items()))
print("}}")
