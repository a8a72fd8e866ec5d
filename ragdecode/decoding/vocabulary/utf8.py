"""Where characters end in bytes."""

from __future__ import annotations


def is_start(byte: int) -> bool:
    """Whether a byte can begin a character."""
    return byte & 0xC0 != 0x80


def leading_rest(text: bytes) -> int:
    """How many bytes at the beginning belong to a character that began before (at most 3)."""
    return next((i for i, byte in enumerate(text[:3]) if is_start(byte)), min(len(text), 3))


def complete(text: bytes) -> int:
    """Length of the text without a character at its end of which bytes are missing."""
    for back in range(1, min(4, len(text)) + 1):
        byte = text[-back]
        if not is_start(byte):
            continue
        needed = 1 if byte < 0x80 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
        return len(text) if needed <= back else len(text) - back
    return len(text)
