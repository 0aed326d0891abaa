"""Safetensors files taken apart and put together again: whole, whatever their tensors have become."""

import json
import math
from dataclasses import dataclass, replace

SIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "F8_E8M0": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "C64": 8, "F64": 8, "I64": 8, "U64": 8,
}  # fmt: skip


@dataclass(frozen=True)
class Stored:
    """A tensor as a file has it."""

    dtype: str
    shape: list[int]
    data: bytes

    def changed(self, dtype: str | None = None, shape: list[int] | None = None) -> "Stored":
        """One of another type or shape, with as much data as it needs: cut, or filled with zeros."""
        new = replace(self, dtype=dtype or self.dtype, shape=self.shape if shape is None else shape)
        size = SIZES[new.dtype] * math.prod(new.shape)
        return replace(new, data=self.data[:size].ljust(size, b"\0"))


def split(content: bytes) -> tuple[bytes, bytes]:
    """The header, which is JSON, and the data."""
    end = 8 + int.from_bytes(content[:8], "little")
    return content[8:end], content[end:]


def join(header: bytes, data: bytes) -> bytes:
    """The file of a header and data."""
    return len(header).to_bytes(8, "little") + header + data


def read(content: bytes) -> dict[str, Stored]:
    """The tensors of a file, but those whose entry in the header an edit has broken."""
    header, data = split(content)
    tensors = {name: _stored(entry, data) for name, entry in json.loads(header).items() if name != "__metadata__"}
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def _stored(entry: object, data: bytes) -> Stored | None:
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(start), int(end)]} if dtype in SIZES:
            content = data[max(start, 0) : end]
            sizes = [size for size in shape if isinstance(size, int)]
            if len(sizes) == len(shape) and SIZES[dtype] * math.prod(sizes) == len(content):
                return Stored(dtype, sizes, content)
    return None


def write(tensors: dict[str, Stored]) -> bytes:
    """The valid file of these tensors."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, tensor in tensors.items():
        end = start + len(tensor.data)
        header[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [start, end]}
        start = end
    return join(json.dumps(header).encode(), b"".join(tensor.data for tensor in tensors.values()))
