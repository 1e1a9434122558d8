# SPDX-License-Identifier: Apache-2.0 OR MIT
"""A kernel's CUDA text as C++ for the emulator: inline assembly becomes calls of ptx.h."""

import re

HEADER = '#include "device.h"\n'
BOUNDS = r"(?:__launch_bounds__\((?:[^()]|\([^()]*\))*\)\s*)?"
ENTRY = re.compile(r'extern "C" __global__ void\s+' + BOUNDS + r"(\w+)\s*\(")
DYNAMIC = re.compile(r"extern __shared__ (?:__align__\(\d+\) )?([\w ]+?) (\w+)\[\];")
ASM = re.compile(r"\basm(?:\s+volatile)?\s*\(")
WGMMA_N = re.compile(r"_m64n(\d+)k16_")


def translate(text):
    """What g++ is given; ValueError with a sentence where an assembly statement is none of ours."""
    names = ENTRY.findall(text)
    if len(names) != 1:
        raise ValueError(f"a kernel's text has one entry, this one has {len(names)}")
    text = DYNAMIC.sub(r"auto* const \2 = reinterpret_cast<\1*>(rapt::emulator::shared_memory());",
                       text)
    return f"{HEADER}{replace_assembly(text)}\n{launcher(names[0])}"


def launcher(name):
    """One thread's run, with the parameters as a launch has them, and their sizes."""
    return (f'extern "C" void rapt_emulated_{name}(void** parameters) {{\n'
            f"  rapt::emulator::call({name}, parameters);\n}}\n"
            f'extern "C" const auto rapt_emulated_{name}_bytes = '
            f"rapt::emulator::parameter_bytes({name});\n")


def replace_assembly(text):
    done, at = [], 0
    while match := ASM.search(text, at):
        end = closing(text, match.end())
        if text[end:end + 1] != ";":
            raise ValueError("assembly that is no statement")
        done += [text[at:match.start()], statement(text[match.end():end - 1])]
        at = end + 1
    return "".join(done) + text[at:]


def closing(text, at):
    """Behind the parenthesis that closes the one before `at`."""
    for position, character, depth in outside_strings(text, at):
        if character == ")" and depth < 0:
            return position + 1
    raise ValueError("assembly that does not end")


def outside_strings(text, at=0):
    """(position, character, depth in brackets) of what is in no string literal; brackets are as
    deep as what is around them."""
    depth, quoted = 0, False
    position = at
    while position < len(text):
        character = text[position]
        if quoted:
            position += character == "\\"
            quoted = character != '"'
        elif character == '"':
            quoted = True
        else:
            yield position, character, depth - (character in ")]}")
            depth += (character in "([{") - (character in ")]}")
        position += 1


def split(text, separator):
    """Parts between separators that are in no string and no brackets."""
    parts, start = [], 0
    for position, character, depth in outside_strings(text):
        if character == separator and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    return [part.strip() for part in [*parts, text[start:]]]


def statement(inside):
    """One asm(...) as a block of C++."""
    template, *operands = split(inside, ":")
    code = "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', template)).replace("\\n", "\n")
    if not code.strip():
        return '{ asm volatile("" ::: "memory"); }'
    given = [operand for section in operands[:2] for operand in split(section, ",") if operand]
    lines = [declaration(n, operand) for n, operand in enumerate(given)]
    labels = re.findall(r"^(\w+):$", code, re.MULTILINE)
    lines = [f"__label__ {label};" for label in labels] + lines
    code = code.strip()
    if code.startswith("{") and ".reg" in code:
        code = code[1:-1]
    for part in re.sub(r"^(\w+):$", r"\1:;", code, flags=re.MULTILINE).split(";"):
        if part.strip():
            lines.append(instruction(part.strip()))
    return "{ " + " ".join(lines) + " }"


def declaration(n, operand):
    """'"=r"(x)' as operand n: a reference where it is written."""
    match = re.fullmatch(r'"([=+]?)\w"\s*\((.*)\)', operand, re.DOTALL)
    if match is None:
        raise ValueError(f"an operand of assembly: {operand}")
    kind = "auto&" if match[1] else "const auto"
    return f"{kind} operand_{n} = {match[2]};"


def instruction(text):
    if text.endswith(":"):
        return f"{text};"
    if text.startswith(".reg .pred "):
        return f"bool {text.removeprefix('.reg .pred ')} = false;"
    if guard := re.match(r"@(!?\w+)\s+(.*)", text, re.DOTALL):
        return f"if ({guard[1]}) {instruction(guard[2])}"
    name, _, operands = text.partition(" ")
    if name == "bra":
        return f"goto {operands};"
    name = "ptx_" + re.sub(r"[.:]+", "_", name)
    arguments = [argument(operand) for operand in split(operands, ",") if operand]
    if n := WGMMA_N.search(name):
        name = name.replace(n[0], "_m64nNk16_")
        arguments.insert(0, n[1])
    return f"rapt::emulator::{name}({', '.join(arguments)});"


def argument(operand):
    if operand.startswith("["):
        return ", ".join(argument(part) for part in split(operand[1:-1], ","))
    if operand.startswith("{"):
        parts = ", ".join(argument(part) for part in split(operand[1:-1], ","))
        return f"rapt::emulator::group({parts})"
    if operand == "_":
        return "nullptr"
    return operand.replace("%", "operand_")
