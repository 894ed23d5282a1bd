"""An SVG of matplotlib's made fit for a page with a strict content security policy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree

_SVG = "http://www.w3.org/2000/svg"


def inline_svg(svg: str, label: str, prefix: str, theme: Mapping[str, str]) -> str:
    """The `svg` element of a document, to stand inside an HTML page.

    `style` attributes, which the policy forbids, become presentation attributes; colours follow the
    page's theme; identifiers get `prefix`, so that two figures on a page do not share any.

    Args:
        svg: a document that `style.to_svg` made; never foreign input.
        label: what a screen reader says.
        prefix: put in front of identifiers.
        theme: the colours to replace, by the names that matplotlib gives them.

    Returns:
        An `svg` element; all text in it is escaped.
    """
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    root = ElementTree.fromstring(svg[svg.index("<svg") :])
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("style", "metadata"):
                parent.remove(child)
    for element in root.iter():
        for key, value in _declarations(element.attrib.pop("style", "")):
            element.set(key, value)
        for key, value in list(element.attrib.items()):
            if key == "id":
                element.set(key, prefix + value)
            elif value.startswith("#") and key.endswith("href"):
                element.set(key, f"#{prefix}{value[1:]}")
            else:
                value = re.sub(r"url\(#", f"url(#{prefix}", value)
                element.set(key, theme.get(value, value))
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.set("role", "img")
    root.set("aria-label", label)
    return ElementTree.tostring(root, encoding="unicode")


def _declarations(style: str) -> list[tuple[str, str]]:
    """CSS declarations as presentation attributes; `font` is the one that has to be split."""
    found = []
    for declaration in filter(None, (part.strip() for part in style.split(";"))):
        key, _, value = declaration.partition(":")
        key, value = key.strip(), value.strip()
        if key == "font":
            if size := re.search(r"[\d.]+px", value):
                found.append(("font-size", size.group()))
            if weight := re.match(r"(bold|[1-9]00)\b", value):
                found.append(("font-weight", weight.group()))
        else:
            found.append((key, value))
    return found
