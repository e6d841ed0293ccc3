"""Experiments whose numbers are compared with published ones: one file each, run by `mmfeat reproduce NAME`.

An experiment is a frozen dataclass with `measure(data, seed, report)`, which yields a `Finding` for every number; its fields
are what `--set` names.
"""
