"""Dollars of money in Markdown, where two of them would make a formula of what is between them."""

import re

_DOLLARS = re.compile(
    r"(?P<kept>\\\(.*?\\\)|\\\[.*?\\\]|\\.|\$\$[^$]*\$\$"
    # between bare dollars, only what has a sign that sums of money lack
    r"|\$(?=[^\s$][^$]*+(?<=\S)\$(?!\d))[^$]*?[\\^_{}][^$]*+\$)|\$(?=\d)"
)


class MoneyFinisher:
    r"""Escapes dollars before digits, outside of formulas: `$5 or $6` -> `\$5 or \$6`.

    A paragraph's first one stays if its line has no other and no formula, since nothing pairs with it. A line with a
    dollar is held from there to its end, which shows whether a formula begins.
    """

    def __init__(self) -> None:
        self._held = ""
        self._bare = False  # the paragraph has a dollar that stayed
        self._line_begins = True

    def push(self, text: str) -> str:
        text = self._held + text
        end = text.rfind("\n") + 1
        unsure = re.search(r"\\*\$|\\+\Z", text[end:])
        end = len(text) if unsure is None else end + unsure.start()
        self._held = text[end:]
        return self._escaped(text[:end])

    def end(self) -> str:
        return self._escaped(self._held)

    def _escaped(self, text: str) -> str:
        found = list(_DOLLARS.finditer(text))
        money = [one.start() for one in found if one["kept"] is None]
        kept = [one.start() for one in found if one["kept"] is not None]
        shown, start = "", 0
        for line in text.splitlines(keepends=True):
            end = start + len(line)
            own = [place - start for place in money if start <= place < end]
            alone = len(own) == 1 and not any(start <= place < end for place in kept)
            start = end
            if self._line_begins and not line.strip():
                self._bare = False
            self._line_begins = line.endswith("\n")
            if alone and not self._bare:
                self._bare = True
            else:
                for place in reversed(own):
                    line = line[:place] + "\\" + line[place:]
            shown += line
        return shown
