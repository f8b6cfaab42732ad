"""What the scripts of Python's clients share."""
import re


def show(step, *values):
    print(step + ":", *(repr(v) for v in values))


def said(function, *args, **kwargs):
    """What a call returns, or what the library raises, less addresses in memory. A mistake of the script goes through."""
    try:
        return function(*args, **kwargs)
    except (AttributeError, NameError, TypeError):
        raise
    except Exception as e:
        return type(e).__name__ + ": " + re.sub("0x[0-9a-f]+", "0x", str(e))


VALUES = {
    "bytes": b"\0\r\n\xff END\r\n", "text": "text", "unicode": "gr\u00f6\u00dfer \u2603 \u8a9e", "empty": "", "no bytes": b"", "int": 42, "negative": -7,
    "big": 2**70, "float": 1.5, "true": True, "false": False, "none": None, "list": [1, "two", [3.5, None]], "map": {"a": {"b": (1, 2)}},
    "set": {7}, "complex": 1 + 2j,
}
