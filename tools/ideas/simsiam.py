from tools.ideas.drawing import BLUE, GREEN, Drawing, shape, two_views

ALT = (
    "Both views pass the same encoder f. A predictor h turns one projection into p1, which must be like the other "
    "view's z2; no gradient flows into z2."
)


def draw() -> Drawing:
    d = Drawing(250, ALT)
    top, bottom = 66, 176
    pair = two_views(shape("ring"), 0)
    encoder = d.box(156, 121, "the same\nencoder\n$f$", BLUE, width=84, height=166)
    for i, y in ((1, top), (2, bottom)):
        view = d.image(48, y, 60, pair[i - 1])
        z = d.symbol(238, y, f"z_{i}")
        d.arrow(view.right, (encoder.left[0], y))
        d.arrow((encoder.right[0], y), (z.x - 13, y))
    predictor = d.box(330, top, "predictor\n$h$", GREEN, width=80)
    p = d.symbol(434, top, "p_1")
    d.arrow((252, top), predictor.left)
    d.arrow(predictor.right, (p.x - 14, top))
    d.arrow((252, bottom), (p.x - 14, bottom))
    d.symbol(434, bottom, "z_2")
    d.stop(330, bottom)
    d.label(330, bottom + 28, "stop-gradient")
    d.arrow((434, top + 20), (434, bottom - 18), both=True)
    d.label(424, 121, "alike", anchor="end")
    return d
