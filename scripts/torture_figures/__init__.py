"""Figures of robustness, one module each: `rN_what.py` with `run(trials, seed)`.

`run` attacks the real thing so many times and returns, for JSON,

    {"goal": what is wanted, "measured": what was found, "naive": what the same attack does to the
     usual way of doing it, "passed": bool}

The naive way must be seen to fail, or the attack has no teeth; `passed` says both.
"""
