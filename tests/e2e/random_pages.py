"""Random pages as a layout network might find them, for comparisons with PaddleX."""

import random

from models.detection import Box, Detection, Polygon

# Source: inference.yml of PP-DocLayoutV2 and V3; the pipelines' settings name labels by their place in it.
LABELS = (
    *("abstract", "algorithm", "aside_text", "chart", "content", "display_formula", "doc_title", "figure_title"),
    *("footer", "footer_image", "footnote", "formula_number", "header", "header_image", "image", "inline_formula"),
    *("number", "paragraph_title", "reference", "reference_content", "seal", "table", "text", "vertical_text"),
    "vision_footnote",
)


def near(chance: random.Random, box: Box) -> Box:
    """A box that repeats another one, lies in it, beside it or below it."""
    kind = chance.choice(("again", "inside", "column", "line"))
    if kind == "again":
        by = chance.choice((1, 8))
        left, top, right, bottom = (side + chance.uniform(-by, by) for side in box)
        return Box(left, top, max(left, right), max(top, bottom))
    if kind == "inside":
        left, right = sorted(chance.uniform(box.left, box.right) for _ in range(2))
        top, bottom = sorted(chance.uniform(box.top, box.bottom) for _ in range(2))
        return Box(left, top, right + 2, bottom + 2)
    wide, high = chance.uniform(20, box.width + 20), chance.uniform(8, box.height + 8)
    if kind == "column":
        left, top = box.right + chance.uniform(-2, 0.4 * box.width), box.top - chance.uniform(-10, 40)
    else:
        left, top = box.left + chance.uniform(-7, 7), box.bottom + chance.uniform(-5, 0.7 * box.height)
    return Box(left, top, left + wide, top + high)


def random_page(seed: int) -> tuple[tuple[int, int], list[Detection]]:
    """Size of a random page, and what a network might find there: repeats, columns, tiny boxes, boxes over the edge."""
    chance = random.Random(seed)
    size = chance.choice(((420, 600), (600, 420)))
    boxes: list[Box] = []
    for _ in range(chance.randint(1, 24)):
        if boxes and chance.random() < 0.7:
            boxes.append(near(chance, chance.choice(boxes[-3:])))
        else:
            left, top = chance.uniform(-10, size[0] - 20), chance.uniform(-10, size[1] - 20)
            boxes.append(Box(left, top, left + chance.uniform(3, 250), top + chance.uniform(3, 120)))
    often = {"text": 45, "image": 6, "inline_formula": 4, "doc_title": 3, "paragraph_title": 3}
    labels = chance.choices(LABELS, weights=[often.get(label, 1) for label in LABELS], k=len(boxes))
    if chance.random() < 0.2:
        boxes.append(Box(-3, 1, size[0] - chance.uniform(0, 100), size[1] + 5))
        labels.append("image")
    orders = chance.sample(range(300), len(boxes))
    if chance.random() < 0.7:
        orders.sort()
    return size, [
        Detection(label, chance.uniform(0.2, 1.0), box, order)
        for label, box, order in zip(labels, boxes, orders, strict=True)
    ]


def outline(box: Box, seed: int) -> Polygon:
    """The box with each corner moved inwards, at random."""
    chance = random.Random(seed)
    wide, high = (chance.choice((0.05, 0.5)) * side for side in (box.width, box.height))
    inwards = [(chance.uniform(0, wide), chance.uniform(0, high)) for _ in range(4)]
    corners = [(box.left, box.top, 1, 1), (box.right, box.top, -1, 1)]
    corners += [(box.right, box.bottom, -1, -1), (box.left, box.bottom, 1, -1)]
    return tuple(
        (x + right * dx, y + down * dy) for (x, y, right, down), (dx, dy) in zip(corners, inwards, strict=True)
    )
