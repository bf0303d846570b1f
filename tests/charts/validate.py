"""Validates manifests as the API server would: strictly, with the schemas of the Kubernetes API.

Reads one JSON array of {name, manifest} from standard input, prints one line for each mistake, and exits 1 if there is any.
What is not part of Kubernetes itself has its schema beside this file, in schemas/<kind>.json: the part that the charts use.
"""

import json
import pathlib
import sys

import jsonschema
import kubernetes_validate

# The oldest release that the charts are for, and the newest that the schemas know.
VERSIONS = ["1.25", kubernetes_validate.latest_version()]
EXTENSIONS = pathlib.Path(__file__).parent / "schemas"


def mistake(manifest):
    """What is wrong with a manifest, or None."""
    extension = EXTENSIONS / (manifest["kind"].lower() + ".json")
    try:
        if extension.exists():
            jsonschema.validate(manifest, json.loads(extension.read_text()))
        else:
            for version in VERSIONS:
                kubernetes_validate.validate(manifest, version, strict=True)
    except jsonschema.ValidationError as error:
        return f"{error.json_path}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError as error:
        return error.message
    return None


mistakes = [
    f"{entry['name']}: {entry['manifest'].get('kind')}: {why}"
    for entry in json.load(sys.stdin)
    if (why := mistake(entry["manifest"]))
]
print("\n".join(mistakes))
sys.exit(bool(mistakes))
