"""A short checksum of data, so that results are never reused for other data.

It is the same on every machine, and reads a gigabyte a second or more. It guards against
accidents, not attacks.
"""

import zlib

import torch
from torch import Tensor


def fingerprint(*tensors: Tensor) -> str:
    """Eight hexadecimal digits that depend on shape, type and every value of the tensors."""
    checksum = 0
    for tensor in tensors:
        checksum = zlib.crc32(f"{tuple(tensor.shape)} {tensor.dtype}".encode(), checksum)
        for rows in tensor.detach().reshape(-1, *tensor.shape[1:]).split(4096):
            content = rows.cpu().contiguous().view(-1).view(torch.uint8)
            checksum = zlib.crc32(content.numpy(), checksum)
    return f"{checksum:08x}"


def fingerprint_of_weights(state: dict[str, Tensor]) -> str:
    """The `fingerprint` of a state dict, names included."""
    names = torch.tensor(list("\n".join(state).encode()), dtype=torch.uint8)
    return fingerprint(names, *state.values())
