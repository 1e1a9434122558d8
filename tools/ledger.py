#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The ledger of CUDA kernels, kernels/cuda/ledger.tsv: what each one takes of a GPU.

`--update` compiles what the ledger lacks or holds of another text; `--check` compiles a fixed
sample, or all, anew and fails where a kernel got worse. Neither needs a GPU; both need NVRTC.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import gpu_record

ROOT = Path(__file__).resolve().parent.parent
LEDGER = ROOT / "kernels" / "cuda" / "ledger.tsv"
RAPT = ROOT / "build" / "release" / "rapt"
SAMPLE = 64
ARCHS = ("sm_70", "sm_75", "sm_80", "sm_90a")
COLUMNS = ("kernel", "arch", "config", "registers", "spill_bytes", "shared_bytes", "reason")
TITLE = "# What every CUDA kernel takes of a GPU; written by tools/ledger.py --update"


@dataclass(frozen=True)
class Line:
    kernel: str
    arch: str
    config: str
    registers: int
    spill_bytes: int
    shared_bytes: int
    reason: str = ""  # why it spills, where it does

    @property
    def key(self):
        return self.kernel, self.arch, self.config


@dataclass
class Ledger:
    nvrtc: dict = field(default_factory=dict)  # architecture -> version that compiled for it
    texts: dict = field(default_factory=dict)  # kernel -> SHA-256 of its text without comments
    lines: dict = field(default_factory=dict)  # Line.key -> Line


# ---- the file

def parse(text):
    ledger = Ledger()
    for row in text.splitlines():
        words = row.split()
        if row.startswith("# nvrtc "):
            ledger.nvrtc[words[2]] = words[3]
        elif row.startswith("# sha256 "):
            ledger.texts[words[2]] = words[3]
        elif not row.startswith("#") and words[0] != COLUMNS[0]:
            kernel, arch, config, registers, spill, shared, reason = row.split("\t")
            line = Line(kernel, arch, config, int(registers), int(spill), int(shared), reason)
            ledger.lines[line.key] = line
    return ledger


def written(ledger):
    rows = [TITLE]
    rows += [f"# nvrtc {arch} {version}" for arch, version in sorted(ledger.nvrtc.items())]
    rows += [f"# sha256 {kernel} {digest}" for kernel, digest in sorted(ledger.texts.items())]
    rows.append("\t".join(COLUMNS))
    rows += ["\t".join(str(getattr(line, name)) for name in COLUMNS)
             for _, line in sorted(ledger.lines.items())]
    return "\n".join(rows) + "\n"


def load():
    return parse(LEDGER.read_text()) if LEDGER.exists() else Ledger()


# ---- the kernels' texts

def kernel_files(root=ROOT):
    """Kernel -> its file below kernels/cuda, as the KernelFamily of each says."""
    family = re.compile(r'"(cuda/\w+)",\s*"([\w/]+\.cuh)"')
    sources = sorted((root / "src" / "backend" / "cuda").glob("*.cpp"))
    return dict(pair for path in sources for pair in family.findall(path.read_text()))


def flattened(file, folder):
    """The file and all that it includes, as src/backend/cuda/kernel_text.cpp finds them."""
    todo, seen = [file], set()
    while todo:
        path = todo.pop().resolve()
        if path in seen:
            continue
        seen.add(path)
        for name in re.findall(r'^#include "([^"]+)"', path.read_text(), re.MULTILINE):
            beside = path.parent / name
            todo.append(beside if beside.exists() else folder / name)
    return seen


def text_hashes(root=ROOT):
    folder = root.resolve() / "kernels" / "cuda"
    return {kernel: gpu_record.hash_of(folder, flattened(folder / file, folder))
            for kernel, file in kernel_files(root).items()}


# ---- comparing

def complaints_of_list(ledger, listed, texts):
    """What is wrong without a compilation: lines missing or stale, texts that changed, spills
    without a reason."""
    names = sorted({kernel for kernel, _, _ in listed})
    found = [f"{name}: its text changed since the ledger was written" for name in names
             if ledger.texts.get(name) != texts.get(name)]
    found += [f"{' '.join(key)}: is not in the ledger" for key in listed
              if key not in ledger.lines]
    found += [f"{' '.join(key)}: is in the ledger, but no kernel any more"
              for key in sorted(set(ledger.lines) - set(listed))]
    return found + complaints_of_reasons(ledger)


def complaints_of_reasons(ledger):
    return [f"{' '.join(line.key)}: spills {line.spill_bytes} bytes for no reason that is given"
            for line in ledger.lines.values() if line.spill_bytes > 0 and not line.reason.strip()]


def complaints_of_line(old, new):
    name = " ".join(new.key)
    if old is None:
        return [f"{name}: is not in the ledger"]
    found = []
    for what, grew in (("registers", new.registers > old.registers),
                       ("spill_bytes", new.spill_bytes > old.spill_bytes),
                       ("shared_bytes", new.shared_bytes != old.shared_bytes)):
        if grew:
            found.append(f"{name}: {what} {getattr(old, what)} -> {getattr(new, what)}")
    return found


def complaints_of_nvrtc(ledger, versions):
    return [f"{arch}: NVRTC {version} is here, the ledger is of {ledger.nvrtc.get(arch)}"
            for arch, version in versions.items() if ledger.nvrtc.get(arch) != version]


def sample(keys, count):
    """The same keys every time: one of each kernel and architecture, then more by their hash."""
    order = sorted(keys, key=lambda key: hashlib.sha256(" ".join(key).encode()).digest())
    first = {}
    for key in order:
        first.setdefault(key[:2], key)
    chosen = list(first.values())
    taken = set(chosen)
    chosen += [key for key in order if key not in taken][:max(0, count - len(chosen))]
    return sorted(chosen)


def kept_lines(ledger, listed, texts, versions):
    """The lines that need no compilation: of the same text, by the same compiler."""
    return {key: ledger.lines[key] for key in listed
            if key in ledger.lines and ledger.texts.get(key[0]) == texts[key[0]]
            and ledger.nvrtc.get(key[1]) == versions[key[1]]}


def with_reason(line, old):
    """The line with the reason that it had; a kernel that no longer spills needs none."""
    return replace(line, reason=old.reason if old and line.spill_bytes > 0 else "")


# ---- compiling

def rapt_compile(*words, cache=None):
    """`rapt compile`, its kernels as lines. SystemExit where it fails, with its sentence."""
    environment = os.environ | ({"RAPT_CACHE_DIR": str(cache)} if cache else {})
    done = subprocess.run([RAPT, "compile", "--preset", "all", "--json", "-", *words], check=False,
                          capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        sys.exit(f"rapt compile {' '.join(words)}: {done.stderr.strip().splitlines()[-1]}")
    return [Line(*(kernel[name] for name in COLUMNS[:-1]))
            for kernel in json.loads(done.stdout)["kernels"]]


def list_keys(archs):
    return [line.key for line in rapt_compile("--list", "--arch", ",".join(archs))]


def nvrtc_versions(archs):
    """Which NVRTC compiles for each: an entry of the cache bears the version in its name."""
    versions = {}
    for arch in archs:
        with tempfile.TemporaryDirectory() as cache:
            rapt_compile("--arch", arch, "--kernel", "cuda/stream", cache=cache)
            names = [path.stem for path in Path(cache).glob("*.cubin")]
        versions[arch] = names[0].rpartition("-")[2]
    return versions


def compile_keys(keys, cache=None):
    """Lines of the keys; each core compiles one at a time."""
    def compile_one(key):
        return rapt_compile("--arch", key[1], "--kernel", f"{key[0]} {key[2]}", cache=cache)

    lines = []
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for done in pool.map(compile_one, keys):
            lines += done
            show(f"compiled {len(lines)} of {len(keys)}: {lines[-1].kernel} for {lines[-1].arch}")
    return lines


def show(progress):
    end = "\r" if sys.stderr.isatty() else "\n"
    print(progress.ljust(79), end=end, file=sys.stderr, flush=True)


# ---- the two verbs

def update(archs):
    old = load()
    archs = sorted({*old.nvrtc, *archs})
    listed, texts, versions = list_keys(archs), text_hashes(), nvrtc_versions(archs)
    unknown = {kernel for kernel, _, _ in listed} - set(texts)
    if unknown:
        sys.exit(f"src/backend/cuda: no KernelFamily names the file of {', '.join(unknown)}")
    lines = kept_lines(old, listed, texts, versions)
    made = compile_keys([key for key in listed if key not in lines])
    lines |= {line.key: with_reason(line, old.lines.get(line.key)) for line in made}
    names = {kernel for kernel, _, _ in lines}
    new = Ledger(versions, {name: texts[name] for name in names}, lines)
    LEDGER.write_text(written(new))
    print(f"{len(made)} lines of {len(lines)} compiled anew")
    return complaints_of_reasons(new)


def check(count):
    ledger = load()
    if not ledger.lines:
        return [f"{LEDGER.relative_to(ROOT)} holds nothing"]
    listed = list_keys(sorted(ledger.nvrtc))
    found = complaints_of_list(ledger, listed, text_hashes())
    found += complaints_of_nvrtc(ledger, nvrtc_versions(sorted(ledger.nvrtc)))
    keys = listed if count is None else sample(listed, count)
    with tempfile.TemporaryDirectory() as cache:  # an old cubin would hide what changed
        made = compile_keys(keys, cache)
    print(f"{len(made)} kernels of {len(listed)} compiled and compared")
    return found + [complaint for line in made
                    for complaint in complaints_of_line(ledger.lines.get(line.key), line)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    verb = parser.add_mutually_exclusive_group(required=True)
    verb.add_argument("--update", action="store_true", help="compile what is new or changed")
    verb.add_argument("--check", action="store_true", help="compare a sample with the ledger")
    parser.add_argument("--arch", default=",".join(ARCHS), metavar="LIST",
                        help="with --update: these too, beside those of the ledger")
    parser.add_argument("--sample", type=int, default=SAMPLE, metavar="N",
                        help=f"with --check: this many kernels at least ({SAMPLE})")
    parser.add_argument("--all", action="store_true", help="with --check: every kernel")
    arguments = parser.parse_args()
    if arguments.update:
        complaints = update(arguments.arch.split(","))
    else:
        complaints = check(None if arguments.all else arguments.sample)
    print("\n".join(complaints) or "nothing got worse")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
