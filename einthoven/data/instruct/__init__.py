"""Instruction data: conversations about ECGs for language models, made from an Index or read from the public sets."""

from einthoven.data.instruct.sample import Sample, Turn, read, write

__all__ = ["Sample", "Turn", "read", "write"]
