"""Where a chip's constants come from: the comments that stand beside them in the chip's file."""

from __future__ import annotations

import re

ABOVE = "as above"


def chip_sources(text: str) -> dict[str, str]:
    """The comment beside each key of a chip's TOML text, by the key's full name ("noc.flit_bits").

    A comment alone on an indented line goes on with the one before it; "as above" takes up its first words.
    """
    sources: dict[str, str] = {}
    section, key, above = "", "", ""
    for line in text.splitlines():
        if match := re.match(r"\s*\[([^\]]+)\]", line):
            section, key = f"{match[1].strip()}.", ""
        elif match := re.match(r"""\s*([\w.-]+)\s*=\s*(?:"[^"]*"|'[^']*'|[^#"'])*(?:#\s*(.*))?$""", line):
            key, comment = section + match[1], (match[2] or "").strip()
            if comment.startswith(ABOVE):
                rest = comment.removeprefix(ABOVE)
                comment = re.split("[:;]", above)[0] + rest if rest else above
            if comment:
                sources[key] = above = comment
        elif (match := re.match(r"\s+#\s*(.*)$", line)) and key in sources:
            sources[key] = above = f"{sources[key]} {match[1].strip()}"
    return sources
