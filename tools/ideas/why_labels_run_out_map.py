from tools.ideas.drawing import COLORS, Drawing

ALT = (
    "Where the target comes from. Another view of the same image: contrastive, self-distillation, clustering, "
    "redundancy reduction. The part of the image that is hidden: masked. The image as a whole: generative."
)
BRANCHES = (  # where the target comes from, and the families that take it from there
    (
        "another view of\nthe same image",
        (
            ("contrastive", "pick the partner out of a crowd"),
            ("self-distillation", "agree with a copy of yourself"),
            ("clustering", "agree on a cluster"),
            ("redundancy reduction", "agree, with unlike features"),
        ),
    ),
    ("the part of the\nimage that is hidden", (("masked", "fill in what is missing"),)),
    ("the image\nas a whole", (("generative", "draw it again, or one like it"),)),
)


def draw() -> Drawing:
    d = Drawing(368, ALT)
    d.label(92, 24, "The target is", bold=True)
    d.label(238, 24, "Families", bold=True, anchor="start")
    y = 62
    for (source, families), color in zip(BRANCHES, COLORS):
        box = d.box(92, y + 24 * (len(families) - 1), source, color, width=164, height=46)
        for name, idea in families:
            d.line([box.right, (200, box.y), (200, y), (228, y)] if y != box.y else [box.right, (228, y)], color)
            d.label(238, y - 9, name, bold=True, anchor="start")
            d.label(238, y + 10, idea, anchor="start")
            y += 48
        y += 12
    return d
