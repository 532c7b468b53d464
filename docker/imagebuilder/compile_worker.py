"""Compiles Python; runs in the Python of the images, alone, so that the result is always the same.

On standard input: pickled paths, sources and levels of optimisation. On standard output: pickled
paths and bytecode. The bytecode is never compared with a source.
"""

import _imp
import importlib.util
import pickle
import sys
import warnings
from importlib._bootstrap_external import _code_to_hash_pyc  # type: ignore[attr-defined]


def compiled(path: str, source: bytes, optimise: int) -> bytes:
    """The content of a .pyc file."""
    code = compile(source, f"/{path}", "exec", dont_inherit=True, optimize=optimise)
    digest = _imp.source_hash(importlib.util._RAW_MAGIC_NUMBER, source)  # type: ignore[attr-defined] # noqa: SLF001
    return bytes(_code_to_hash_pyc(code, digest, checked=False))


def main() -> None:
    """Compile what standard input names."""
    warnings.simplefilter("ignore")
    wanted = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the builder, our parent
    results = [(path, compiled(path, source, level)) for path, source, level in wanted]
    pickle.dump(results, sys.stdout.buffer)


if __name__ == "__main__":
    main()
