# SPDX-License-Identifier: Apache-2.0
"""Damage to files, each from a seed: any bytes, lines of text, JSON, and the containers' own lengths and checksums."""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

_NUMBERS = (0, -1, 1, 0.5, 1e30, -1e30, 1e308, 1e-320, 2**31 - 1, 2**31, 2**32 + 7, 2**63, 2**64, 10**400, 255, 65536)
_WORDS = (
    "", "\0", "a\0b", "\ud800", "\udfff.png", "..", "../../etc/passwd", "/", "/etc/passwd", "a/b/c", "x" * 5000, "NaN",
    "-1", "1e5", "５", "٣", "\n", "\x1b[31m", "[bold]", "con", "é", "🙂", "{}", "%s", "." * 300, "9" * 5000, "\\", " ",
)  # fmt: skip
_LITERALS = ("NaN", "Infinity", "-Infinity", "1e999", "-0", "0.0", "1" * 5000, "null", "true", "[]", "{}", '""',
             "[" * 100_000, '{"a":' * 50_000, "[" * 900 + "]" * 900, '"\\ud800"')  # fmt: skip
_LENGTHS = (0, 1, 2**7, 2**15, 2**16 - 1, 2**20, 2**24, 2**28, 2**31 - 1, 2**31, 2**32 - 1)
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


def mutated(data: bytes, suffix: str, random: Random) -> bytes:
    """The content of a file, damaged.

    Args:
        data: the whole content.
        suffix: of the file's name, which says what kinds of damage make sense.
        random: where the damage comes from.
    """
    kinds: list[Callable[[bytes, Random], bytes]] = [_flipped, _cut, _doubled, _overwritten, _foreign]
    if suffix in (".json", ".gltf"):
        kinds = [_json] * 6 + [_literal] * 3 + [_cut, _flipped, _number, _foreign]
    elif suffix in (".txt", ".csv", ".tsv", ".cfg", ".usda"):
        kinds = [_lines] * 3 + [_number] * 4 + [_field] * 3 + [_cut, _flipped, _foreign]
    elif suffix == ".ply":
        kinds += [_header] * 5
    elif suffix == ".png":
        kinds += [_png] * 5
    elif suffix == ".safetensors":
        kinds += [_safetensors] * 6
    elif suffix in (".zip", ".npz", ".ckpt", ".pth", ".sog"):
        kinds += [_zip] * 4
    elif suffix == ".glb":
        kinds += [_glb] * 6
    for _ in range(1 if random.random() < 0.7 else random.randint(2, 4)):
        data = random.choice(kinds)(data, random)
    return data


# Any bytes


def _flipped(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 8, 64)) if data else 0):
        changed[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _cut(data: bytes, random: Random) -> bytes:
    if random.random() < 0.5:
        return data[: random.randint(0, len(data))]
    start = random.randint(0, len(data))
    return data[:start] + data[random.randint(start, min(len(data), start + 64)) :]


def _doubled(data: bytes, random: Random) -> bytes:
    start = random.randint(0, len(data))
    part = data[start : start + random.choice((1, 4, 8, 64, 4096))]
    return data[:start] + part * random.choice((1, 2, 16)) + data[start:]


def _overwritten(data: bytes, random: Random) -> bytes:
    """A number of 1, 2, 4 or 8 bytes anywhere, mostly near the start where headers are."""
    form = random.choice(("<B", "<H", "<I", "<Q", ">H", ">I", ">Q", "<f", "<d"))
    size = struct.calcsize(form)
    if len(data) < size:
        return data
    most = len(data) - size
    start = random.randint(0, min(most, 256)) if random.random() < 0.5 else random.randint(0, most)
    value: float = random.choice((*_LENGTHS, 2**63, 2**64 - 1)) & ((1 << (8 * size)) - 1)
    if form[1] in "fd":
        value = random.choice((0.0, -1.0, float("nan"), float("inf"), -float("inf"), 1e30, 1e-30))
    return data[:start] + struct.pack(form, value) + data[start + size :]


def _foreign(data: bytes, random: Random) -> bytes:
    return random.choice((b"", b"\0", b"\0" * 4096, b"PK\3\4", b"\x89PNG\r\n\x1a\n", b"ply\n", b"{}", b"[]", b"null",
                          b"0", b"\xff\xfe", b"\xef\xbb\xbf{}", random.randbytes(200), b"<html></html>"))  # fmt: skip


def _glb(data: bytes, random: Random) -> bytes:
    """Damage to the JSON of a GLB, with the lengths put right."""
    size = int.from_bytes(data[12:16], "little")
    text = (_json if random.random() < 0.8 else _literal)(data[20 : 20 + size], random)
    text += b" " * (-len(text) % 4)
    rest = data[20 + size :]
    return data[:8] + struct.pack("<II", 20 + len(text) + len(rest), len(text)) + data[16:20] + text + rest


# Text


def _number(data: bytes, random: Random) -> bytes:
    found = list(_NUMBER.finditer(data[:200_000]))
    if not found:
        return data
    match = random.choice(found)
    value = random.choice((*_NUMBERS, "nan", "inf", "-inf", "x", "", "0x10", "1_0", "9" * 5000))
    return data[: match.start()] + str(value).encode() + data[match.end() :]


def _lines(data: bytes, random: Random) -> bytes:
    lines = data.split(b"\n")
    index = random.randrange(len(lines))
    what = random.randrange(5)
    if what == 0:
        del lines[index]
    elif what == 1:
        lines.insert(index, lines[index])
    elif what == 2:
        other = random.randrange(len(lines))
        lines[index], lines[other] = lines[other], lines[index]
    elif what == 3:
        lines[index] = random.choice((b"", b"#", b"\0", b"\xff", b" " * 100, b"a" * 200_000, b'"'))
    else:
        lines[index] = lines[index][: random.randint(0, len(lines[index]))]
    return b"\n".join(lines)


def _field(data: bytes, random: Random) -> bytes:
    """One field of one line becomes another."""
    parts = re.split(rb"([\s,]+)", data[:100_000])
    index = random.randrange(len(parts))
    parts[index] = random.choice((*_WORDS, "nan", "inf", '"')).encode("utf-8", "surrogatepass")
    return b"".join(parts) + data[100_000:]


# JSON


def _json(data: bytes, random: Random) -> bytes:
    """Another value, an entry gone, doubled or renamed, somewhere in the document."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return _flipped(data, random)
    top = [document]
    holder: Any = top
    key: Any = 0
    for _ in range(random.choice((0, 1, 1, 2, 2, 3, 3, 4, 5, 6))):
        inner = holder[key]
        if not isinstance(inner, (dict, list)) or not inner:
            break
        holder, key = inner, random.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
    what = random.random()
    if holder is top:
        document = _value(document, random)
    elif what < 0.15:
        del holder[key]
    elif what < 0.25 and isinstance(holder, list):
        holder.insert(key, holder[key])
    elif what < 0.3 and isinstance(holder, list):
        holder.extend(holder * 20)
    elif what < 0.3:
        holder[random.choice(_WORDS)] = holder.pop(key)
    else:
        holder[key] = _value(holder[key], random)
    try:
        return json.dumps(document).encode()
    except (ValueError, RecursionError):
        return data


def _value(old: Any, random: Random) -> Any:
    if isinstance(old, (int, float)) and not isinstance(old, bool) and random.random() < 0.5:
        return random.choice((old + 1, -old, old * 1e9 if abs(old) < 1e200 else 0, *_NUMBERS))
    if isinstance(old, list) and random.random() < 0.3:
        return random.choice((old[1:], old * 2, [old], list(reversed(old)), [None] * len(old)))
    return random.choice((None, True, False, [], {}, [[]], {"id": 1}, float("nan"), float("inf"), [1, 2, 3],
                          [[1.0] * 4] * 4, random.choice(_NUMBERS), random.choice(_WORDS),
                          random.choice(_WORDS)))  # fmt: skip


def _literal(data: bytes, random: Random) -> bytes:
    """Text in the place of a number or of any value, which no writer of JSON would give."""
    found = list(re.finditer(rb'-?\d[\d.eE+-]*|"[^"\\]*"|true|false|null', data[:200_000]))
    if not found:
        return data
    match = random.choice(found)
    return data[: match.start()] + random.choice(_LITERALS).encode() + data[match.end() :]


# Containers


def _header(data: bytes, random: Random) -> bytes:
    """A PLY's header: counts, names, types, lines."""
    end = data.find(b"end_header")
    if end < 0:
        return data
    head, body = data[:end], data[end:]
    what = random.randrange(4)
    if what == 0:
        return _number(head, random) + body
    if what == 1:
        return _lines(head, random) + body
    if what == 2:
        types = (
            b"float",
            b"double",
            b"uchar",
            b"int",
            b"uint",
            b"short",
            b"list uchar int",
            b"list int double",
            b"int64",
        )
        changed = lambda m: random.choice((m[0], m[0], random.choice(types)))
        return re.sub(rb"float|double|uchar|int|uint", changed, head) + body
    renamed = lambda m: random.choice((m[0], m[0], m[0], b"f_rest_x", b"x", b"red"))
    return re.sub(rb"(?<=property float )\w+", renamed, head) + body


def _png(data: bytes, random: Random) -> bytes:
    """A chunk of a PNG changed, lost, doubled or with another length, and its checksum made to fit."""
    chunks, place = [], 8
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        chunks.append([data[place + 4 : place + 8], data[place + 8 : place + 8 + length]])
        place += 12 + length
    if not chunks:
        return _flipped(data, random)
    index = random.randrange(len(chunks)) if random.random() < 0.5 else 0
    kind, content = chunks[index]
    what = random.randrange(6)
    if kind == b"IHDR" and len(content) == 13:
        if what < 3:
            size = random.choice((*_LENGTHS, 2, 3, 7, 20_000, 100_000))
            offset = random.choice((0, 4))
            content = content[:offset] + struct.pack(">I", size) + content[offset + 4 :]
        else:
            at = random.randrange(8, 13)
            content = content[:at] + bytes([random.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))]) + content[at + 1 :]
    elif kind == b"IDAT" and what < 4:
        try:
            pixels = zlib.decompress(content)
        except zlib.error:
            pixels = b""
        others = (pixels[: len(pixels) // 2], pixels * 3, bytes(10_000_000), _flipped(pixels, random))
        content = zlib.compress(random.choice(others), 1)
    elif what == 4:
        del chunks[index]
    else:
        content = _overwritten(content, random) if content else random.randbytes(20)
    if index < len(chunks) and what != 4:
        chunks[index] = [kind, content]
    extra = {0: [b"tEXt", b"a\0" + b"b" * 100], 1: [b"eXIf", b"MM\0*\0\0\0\x08\xff\xff"], 2: [b"tRNS", b"\0\0"],
             3: [b"PLTE", b"\1\2\3"], 4: [b"zTXt", b"a\0\0" + zlib.compress(bytes(3_000_000), 9)]}  # fmt: skip
    if random.random() < 0.2:
        chunks.insert(min(1, len(chunks)), extra[random.randrange(5)])
    return data[:8] + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def _safetensors(data: bytes, random: Random) -> bytes:
    """The header of a safetensors file as JSON, with its length made to fit."""
    if len(data) < 8:
        return data
    (length,) = struct.unpack_from("<Q", data)
    head, body = data[8 : 8 + length], data[8 + length :]
    if random.random() < 0.3:  # the numbers of the tensors themselves
        values = (float("nan"), float("inf"), -1.0, 1e30, 0.0, -1e-30)
        if len(body) >= 4:
            start = 4 * random.randrange(len(body) // 4)
            form, value = random.choice((("<f", random.choice(values)), ("<i", random.choice((-1, 2**31 - 1, 0, 7)))))
            body = body[:start] + struct.pack(form, value) + body[start + 4 :]
        return data[: 8 + length] + body
    if random.random() < 0.3:
        kinds = (b"F32", b"I32", b"I64", b"F64", b"BF16", b"U8", b"BOOL", b"X", b"F8_E4M3")
        head = re.sub(rb"(?<=\")(F32|I32|I64|F16|U8|BOOL)(?=\")", lambda _: random.choice(kinds), head, count=1)
    else:
        head = random.choice((_json, _literal, _number))(head, random)
    return struct.pack("<Q", len(head)) + head + body


def _zip(data: bytes, random: Random) -> bytes:
    """A field of one of the records of a zip archive."""
    places = [m.start() for m in re.finditer(rb"PK(?:\x01\x02|\x03\x04|\x05\x06)", data)]
    if not places:
        return data
    start = random.choice(places) + 4
    changed = bytearray(data)
    offset = start + random.choice((0, 2, 4, 6, 10, 14, 16, 18, 20, 22, 24, 26, 28, 30, 38, 42))
    values = (b"\0\0", b"\xff\xff", b"\x63\0", b"\1\0", b"\x08\0", b"\0\x80", b"/\0", b"..")
    value = random.choice((*values, random.randbytes(2)))
    changed[offset : offset + 2] = value[: max(0, len(changed) - offset)]
    return bytes(changed)
