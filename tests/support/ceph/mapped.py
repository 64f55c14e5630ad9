"""Reads files through memory mappings that stay, for tests: `python3 mapped.py FILE…`.

For each line with a file's number on standard input, one line with the lowest and the highest version among the records of
16 bytes (number and version, little-endian) that its mapping shows, and whether every record is of that file.
"""
import mmap
import struct
import sys

mappings = []
for name in sys.argv[1:]:
    with open(name, "rb") as file:
        mappings.append(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
print("ready", flush=True)
for line in sys.stdin:
    number = int(line)
    shown = mappings[number][:]
    records = list(struct.iter_unpack("<QQ", shown[:len(shown) // 16 * 16]))
    versions = [version for _, version in records]
    own = all(of == number for of, _ in records)
    print(min(versions), max(versions), "own" if own else "other", flush=True)
