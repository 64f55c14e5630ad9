"""Reads files through memory mappings, for tests: `python3 mapped.py FILE…`.

The mappings stay, unless `anew` follows the number: then the file is opened and mapped again first.

For each line with a file's number on standard input, one line with the lowest and the highest version among the records of
16 bytes (number and version, little-endian) that its mapping shows, and whether every record is of that file.
"""
import mmap
import struct
import sys



def mapped(name):
    with open(name, "rb") as file:
        return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)


names = sys.argv[1:]
mappings = [mapped(name) for name in names]
print("ready", flush=True)
for line in sys.stdin:
    number, *anew = line.split()
    number = int(number)
    if anew:
        mappings[number].close()
        mappings[number] = mapped(names[number])
    shown = mappings[number][:]
    records = list(struct.iter_unpack("<QQ", shown[:len(shown) // 16 * 16]))
    versions = [version for _, version in records]
    own = all(of == number for of, _ in records)
    print(min(versions), max(versions), "own" if own else "other", flush=True)
