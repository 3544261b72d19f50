"""Lists crates with their licences and the texts of these, each text once. Standard input is `cargo metadata`; the
argument names a file with the crates that count, a line each: `name v1.2.3`."""

import json
import re
import sys
from pathlib import Path

LICENCE = re.compile(r"^(licen[cs]e|copying|copyright|notice|unlicense)", re.IGNORECASE)

with open(sys.argv[1]) as linked:
    counted = {tuple(line.strip().split(" v")) for line in linked}
packages = [p for p in json.load(sys.stdin)["packages"] if (p["name"], p["version"]) in counted and p["source"]]
packages.sort(key=lambda package: (package["name"], package["version"]))
if not packages:
    sys.exit("third-party.py: no crate is known")

texts = {}
print("The program `porth` holds these libraries. The texts of their licences follow.\n")
for package in packages:
    print(f"{package['name']} {package['version']}: {package['license'] or 'see below'}")
    folder = Path(package["manifest_path"]).parent
    for file in sorted(folder.iterdir()):
        if LICENCE.match(file.name) and file.is_file():
            text = file.read_text(errors="replace").strip()
            texts.setdefault(text, []).append(f"{package['name']} {package['version']}")
for text, names in texts.items():
    print(f"\n{'-' * 78}\n{', '.join(names)}\n\n{text}")
