# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The record of the GPU's tests, tests/gpu-record.json: which sources were tested where, and how.

CI has no GPU; it compares the record with the sources. A record is of one state of the sources and
grows by parts (`./test --gpu --part K/N`), which may run on different days and machines.
"""

import hashlib
import json
import os
import re
import tempfile
from pathlib import Path

RECORD = Path("tests") / "gpu-record.json"
SOURCES = ("kernels/cuda", "src/backend/cuda", "src/plan")
CODE = {".h", ".cpp", ".inc", ".cu", ".cuh"}
SCHEMA = 1

# One token of C++ or CUDA after the other. Comments and blank space are the two that do not count;
# blank space inside a string or a character does.
TOKEN = re.compile(r"""
    (?P<comment> //(?:\\\n|[^\n])* | /\*.*?\*/ )
  | (?P<blank>   \s+ | \\\n )
  | (?P<code>
        (?:u8|u|U|L)?R"(?P<mark>[^()\\\s]{0,16})\(.*?\)(?P=mark)"   # a raw string
      | "(?:\\.|[^"\\])*"
      | \.?[0-9](?:[eEpP][+-]|'[0-9a-zA-Z]|[.\w])*                  # a number; ' separates digits
      | '(?:\\.|[^'\\])*'
      | \w+
      | . )
""", re.VERBOSE | re.DOTALL)


def stripped(text):
    """Code without comments and blank space; a space stays between two words."""
    kept, gap = [], False
    for token in TOKEN.finditer(text):
        if token.lastgroup in ("comment", "blank"):
            gap = True
            continue
        code = token.group()
        if gap and kept and re.match(r"\w", code) and re.search(r"\w$", kept[-1]):
            kept.append(" ")
        kept.append(code)
        gap = False
    return "".join(kept)


def source_hash(root):
    """SHA-256 over the names and the stripped text of every source that the record speaks of."""
    files = [path for folder in SOURCES for path in (root / folder).rglob("*")
             if path.suffix in CODE and path.is_file()]
    return hash_of(root, files)


def hash_of(root, files):
    """SHA-256 over the files' names below root and their stripped text."""
    digest = hashlib.sha256()
    for name, path in sorted((path.relative_to(root).as_posix(), path) for path in files):
        code = stripped(path.read_text()).encode()
        digest.update(f"{name}\n{len(code)}\n".encode() + code)
    return digest.hexdigest()


def seal(record):
    """A checksum of everything else in the record: a hand that edits it must forge this too."""
    rest = {key: value for key, value in record.items() if key != "seal"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def load(root):
    """The record, or None where there is none. ValueError: it is no record that this file wrote."""
    path = root / RECORD
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text())
        sealed = record["schema"] == SCHEMA and record["seal"] == seal(record)
    except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{RECORD} is damaged: {error}") from error
    if not sealed:
        raise ValueError(f"{RECORD} was changed by hand: its seal does not fit")
    return record


def save(root, record):
    """Writes the record whole or not at all."""
    record["seal"] = seal(record)
    path = root / RECORD
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        file.write(json.dumps(record, indent=1) + "\n")
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def merge(record, sources, name, part):
    """The record with one more part. `name` is "K/N", or "KIND K/N" for parts beside the tests; a
    record of other sources, or one that was cut into another number of parts, makes way."""
    if record is None or record["sources"] != sources:
        record = {"schema": SCHEMA, "sources": sources, "parts": {}}
    kind, _, count = split_name(name)
    parts = {other: value for other, value in record["parts"].items()
             if split_name(other)[0] != kind or split_name(other)[2] == count}
    parts[name] = part
    return {**record, "parts": dict(sorted(parts.items()))}


def split_name(name):
    """("sanitizer", 2, 3) of "sanitizer 2/3"; ("tests", 2, 3) of "2/3"."""
    kind, _, numbers = name.rpartition(" ")
    index, count = numbers.split("/")
    return kind or "tests", int(index), int(count)


def complaints(root):
    """What is wrong with the record, a sentence each; none: it is whole, fresh and all passed."""
    try:
        record = load(root)
    except ValueError as error:
        return [str(error)]
    if record is None:
        return [f"{RECORD} does not exist: the GPU's tests were never run"]
    if record["sources"] != source_hash(root):
        return [f"{RECORD} is stale: {', '.join(SOURCES)} changed since the GPU's tests ran"]
    return missing_parts(record) + failures(record)


def missing_parts(record):
    names = [split_name(name) for name in record["parts"]]
    found = []
    for kind in sorted({"tests", *(kind for kind, _, _ in names)}):
        have = {index for other, index, _ in names if other == kind}
        count = max((count for other, _, count in names if other == kind), default=1)
        missing = sorted(set(range(1, count + 1)) - have)
        if missing:
            parts = ", ".join(f"{index}/{count}" for index in missing)
            found.append(f"{kind}: not all parts were run; missing {parts}")
    return found


def failures(record):
    found = []
    for name, part in record["parts"].items():
        if not part["tests"]:
            found.append(f"part {name}: no test ran")
        found += [f"part {name}: {test} {outcome}" for test, outcome in part["tests"].items()
                  if outcome != "passed"]
    return found


def summary(root):
    """One line: what the record holds, where it holds anything."""
    record = load(root)
    tests = [outcome for part in record["parts"].values() for outcome in part["tests"].values()]
    gpus = sorted({f"{part['gpu']}, driver {part['driver']}" for part in record["parts"].values()})
    dates = sorted({part["date"] for part in record["parts"].values()})
    return f"{tests.count('passed')} of {len(tests)} passed on {'; '.join(gpus)}, {dates[-1]}"
