"""The text of a PDF as Typst writes it, for tests: what a reader would copy; figures have none."""

import re
import zlib
from pathlib import Path

ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}
_INNER = rb"(?:[^\\()]|\\.|\((?:[^\\()]|\\.)*\))*"
"""Of a literal string: parentheses are escaped or balanced."""
TOKEN = re.compile(rb"/(f\d+) [\d.]+ Tf|\((" + _INNER + rb")\)|<([0-9A-Fa-f]+)>(?=[^<>]*T[jJ])|\bET\b", re.DOTALL)


def pdf_text(path: Path) -> str:
    """Return the text of all pages in the order of writing; a space ends each run of glyphs."""
    objects = {
        int(n): body for n, body in re.findall(rb"(?<!\d)(\d+) 0 obj\n(.*?)\nendobj", path.read_bytes(), re.DOTALL)
    }
    kids = re.search(rb"/Type/Pages.*?/Kids\[(.*?)\]", b"\n".join(objects.values()), re.DOTALL)
    assert kids is not None, "no pages"
    pages = [objects[int(n)] for n in re.findall(rb"(\d+) 0 R", kids[1])]
    return "\n".join(_page_text(page, objects) for page in pages)


def _page_text(page: bytes, objects: dict[int, bytes]) -> str:
    resources = objects[_reference(page, b"Resources")]
    fonts = {
        name: _characters(_stream(objects[_reference(objects[int(font)], b"ToUnicode")]))
        for name, font in re.findall(rb"/(f\d+) (\d+) 0 R", resources)
    }
    parts, shown = [], {}
    content = re.sub(rb"<<.*?>>\s*BDC", b"", _stream(objects[_reference(page, b"Contents")]), flags=re.DOTALL)
    for found in TOKEN.finditer(content):
        font, literal, digits = found.groups()
        if font:
            shown = fonts[font]
        elif literal is None and digits is None:
            parts.append(" ")
        else:
            codes = bytes.fromhex(digits.decode()) if literal is None else _unescaped(literal)
            parts += [shown.get(codes[i : i + 2], "\N{REPLACEMENT CHARACTER}") for i in range(0, len(codes), 2)]
    return "".join(parts)


def _reference(body: bytes, key: bytes) -> int:
    found = re.search(rb"/" + key + rb" (\d+) 0 R", body)
    assert found is not None, key
    return int(found[1])


def _stream(body: bytes) -> bytes:
    head, _, data = body.partition(b"stream\n")
    data = data.rpartition(b"\nendstream")[0]
    return zlib.decompress(data) if b"FlateDecode" in head else data


def _characters(cmap: bytes) -> dict[bytes, str]:
    """Read the code -> text lines of a ToUnicode map."""
    return {
        bytes.fromhex(code.decode()): bytes.fromhex(text.decode()).decode("utf-16-be")
        for code, text in re.findall(rb"^<([0-9A-F]{4})> <([0-9A-F]+)>$", cmap, re.MULTILINE)
    }


def _unescaped(literal: bytes) -> bytes:
    def plain(found: re.Match[bytes]) -> bytes:
        text = found[1]
        return bytes([int(text, 8)]) if text.isdigit() else ESCAPES.get(text, text)

    return re.sub(rb"\\([0-7]{1,3}|.)", plain, literal, flags=re.DOTALL)
