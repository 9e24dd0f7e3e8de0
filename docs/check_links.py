"""Check that every link inside the built site leads to a page, and to a place that it has.

python docs/check_links.py build/site
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The links of a page, and what links can lead to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.names: set[str] = {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the links and the names of an element."""
        values = {name: value for name, value in attrs if value}
        self.links |= {values[name] for name in ("href", "src") if name in values}
        self.names |= {values[name] for name in ("id", "name") if name in values}


def broken(site: Path) -> list[str]:
    """The links that lead nowhere, with their pages."""
    written = (path for path in site.rglob("*.html") if "_static" not in path.parts)
    pages = {path.resolve(): Page(path) for path in written}
    found = [] if pages else [f"{site}: no pages"]
    for path, page in pages.items():
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            there = target in pages and unquote(parts.fragment) in pages[target].names
            if not (there or (target.is_file() and target not in pages)):
                found.append(f"{path.relative_to(site.resolve())}: {link}")
    return found


if __name__ == "__main__":
    links = broken(Path(sys.argv[1]))
    sys.exit("\n".join(["Broken links:", *links]) if links else 0)
