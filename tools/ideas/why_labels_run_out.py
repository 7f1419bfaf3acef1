from tools.ideas.drawing import BLUE, GREEN, ORANGE, Drawing, shape

ALT = (
    "Above, supervised: an image, an encoder, a guess; the target, heart, is written by a person. Below, "
    "self-supervised: the image turned by 90 degrees; the target is the turn itself."
)


def draw() -> Drawing:
    d = Drawing(290, ALT)
    image = shape("heart", 2)
    rows = (
        (30, "Supervised", image, "heart", "written by a person", ORANGE),
        (166, "Self-supervised", image.rot90(1, (1, 2)), "turned by 90°", "known: we turned it", GREEN),
    )
    for y, name, pixels, target, source, color in rows:
        d.label(16, y, name, bold=True, anchor="start")
        y += 56
        small = d.image(48, y, 64, pixels)
        encoder = d.box(142, y, "encoder", BLUE, height=40)
        guess = d.box(238, y, "guess", BLUE, width=64, height=40)
        answer = d.box(386, y, target, color, width=130, height=40)
        d.arrow(small.right, encoder.left)
        d.arrow(encoder.right, guess.left)
        d.arrow(guess.right, answer.left, both=True)
        d.label(386, y - 34, "target")
        d.label(386, y + 36, source)
    return d
