from dataclasses import dataclass

from modes import choose
from modes.finish import finisher_of as _f
from modes.repetition import usual_count


@dataclass
class Row:
    name: str
    takes_table_format: bool
    one_image: bool
    keep_special_tokens: bool


MODES = {n: Row(n, n == "table", n == "spotting", n == "spotting") for n in choose.MODES}
MODE_NAMES = (*MODES, "raw")
ANSWER_MODES = (*{*choose.MODES, *choose.OFFICIAL.values(), choose.RAW},)


def finisher_of(mode, *, finished, table_format="auto", image_size=(0, 0), streaming):
    class T:
        pass

    t = T()
    t.mode = mode
    t.finished = finished
    return _f(t, table_format, image_size, streaming=streaming)


def max_repeats(mode):
    return usual_count(mode)
