"""The words of a page's blocks: sentences, headings, labels of captions, bullets, authors, references.

Words come from the split word list and from the frequent short words that all text shares.
"""

import itertools
from collections.abc import Iterator

from training.render_text import Writer

FREQUENT = """
    the the the of of and and a a to to in in is that for it as was with be by on not but at are this have from or had
    an they which one you were all there would their we been has when who will no more if out so up what its about than
    into them can only other new some could these two may first then do any now such over most after also did many
    before must through where much should because each those under between both during same being used three however
""".split()
FIGURES = ("Figure", "Figure", "Fig.", "Table", "Table", "Chart", "Plate", "Listing")
ABBREVIATIONS = ("e.g.", "i.e.", "don't", "isn't", "et al.", "cf.", "vs.", "U.S.", "No. 5", "-", "&")
ROMAN = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x")


def prose(writer: Writer) -> Iterator[str]:
    """Sentence after sentence without end, word by word; punctuation sticks to its word."""
    while True:
        yield from " ".join(sentence(writer)).split()


def sentence(writer: Writer) -> list[str]:
    """The words of a sentence, with its full stop."""
    rng = writer.rng
    chosen = [prose_word(writer) for _ in range(rng.randint(4, 18))]
    chosen[0] = chosen[0][0].upper() + chosen[0][1:]
    for i in range(len(chosen) - 1):
        if rng.random() < 0.07:
            chosen[i] += rng.choice(",,,,;:")
    if rng.random() < 0.15:
        first = rng.randrange(1, len(chosen) - 1)
        last = min(len(chosen) - 1, first + rng.randint(0, 4))
        brackets = rng.choice(["()", "()", '""', "''", "[]"])
        chosen[first] = brackets[0] + chosen[first]
        chosen[last] = chosen[last].rstrip(",;:") + brackets[1]
    chosen[-1] += rng.choice("..........?!:")
    return chosen


def prose_word(writer: Writer) -> str:
    """A word of a sentence, mostly an ordinary one; now and then something of more than one word."""
    rng = writer.rng
    draw = rng.random()
    if draw < 0.38:
        return rng.choice(FREQUENT)
    if draw < 0.84:
        return writer.word()
    if draw < 0.88:
        return rng.choice(writer.names)
    if draw < 0.93:
        return rng.choice([writer.number(), writer.number(), writer.price(), str(rng.randint(1890, 2035))])
    return rng.choice(
        [
            f"{writer.word()}-{writer.word()}",
            f"{writer.word()}'s",
            f"{rng.choice(writer.names)}'s",
            f"{writer.word()}/{writer.word()}",
            rng.choice(ABBREVIATIONS),
            f"[{rng.randint(1, 60)}]",
            f"{rng.randint(1, 99)}%",
            "".join(rng.choices("ABCDEFGHIKLMNOPRSTUVW", k=rng.randint(2, 5))),
            writer.code(),
            writer.date(),
        ]
    )


def heading(writer: Writer) -> Iterator[str]:
    """A heading's number, if it has one, and its words."""
    rng = writer.rng
    if rng.random() < 0.4:
        numbers = ".".join(str(rng.randint(1, 12)) for _ in range(rng.randint(1, 3)))
        roman, letter = rng.choice(ROMAN).upper(), rng.choice("ABCDEF")
        yield rng.choice(
            [numbers, numbers, f"{numbers}.", f"Chapter {numbers[0]}:", f"{roman}.", f"Appendix {letter}:"]
        )
    form = rng.choice([str.title, str.title, str.lower, str.upper, str.lower])
    for i in itertools.count():
        word = rng.choice(FREQUENT) if i and rng.random() < 0.3 else writer.word()
        word = word if form is str.title and word in FREQUENT else form(word)
        yield word if i else word[0].upper() + word[1:]


def authors(writer: Writer) -> Iterator[str]:
    """Names with commas between them, sometimes an address at the end of one."""
    rng = writer.rng
    while True:
        initial = rng.choice(["", rng.choice("ABCDEFGHJKLMNPRSTW") + ". "])
        name = f"{rng.choice(writer.names)} {initial}{rng.choice(writer.names)}"
        yield from (name + rng.choice([",", ",", ",", " and", ";", f" ({writer.word()}@{writer.word()}.org)"])).split()


def running(writer: Writer) -> Iterator[str]:
    """A header, a footer or the number of a page."""
    rng = writer.rng
    page = rng.randint(1, 400)
    numbers = [f"{page}", f"- {page} -", f"Page {page}", f"Page {page} of {page + rng.randint(0, 90)}", f"{page} / 412"]
    title = " ".join(itertools.islice(heading(writer), 8))
    return iter(rng.choice([rng.choice(numbers), rng.choice(numbers), f"{page} {title}", title, title]).split())


def caption(writer: Writer) -> Iterator[str]:
    rng = writer.rng
    number = rng.choice([str(rng.randint(1, 40)), f"{rng.randint(1, 9)}.{rng.randint(1, 20)}"])
    label = f"{rng.choice(FIGURES)} {number}{rng.choice([':', ':', ':', '.', ' -', ''])}"
    return itertools.chain(label.split(), prose(writer))


def bullets(writer: Writer, count: int) -> list[str]:
    """The marks of `count` items of a list, all of one kind."""
    rng = writer.rng
    first = rng.randint(1, 12)
    numbers = range(first, first + count)
    letters = [chr(ord("a") + (n - 1) % 26) for n in numbers]
    return rng.choice(
        [
            *[["•"] * count] * 5,
            *[["–"] * count, ["-"] * count] * 2,
            *[[f"{n}." for n in numbers]] * 3,
            [f"{n})" for n in numbers],
            [f"[{n}]" for n in numbers],
            [f"{letter})" for letter in letters],
            [f"({letter})" for letter in letters],
            [f"{ROMAN[n % len(ROMAN)]}." for n in numbers],
        ]
    )


def footnote_mark(writer: Writer) -> str:
    number = writer.rng.randint(1, 40)
    return writer.rng.choice([f"{number}", f"{number}.", f"{number})", f"[{number}]", "*"])
