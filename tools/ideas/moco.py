from tools.ideas.drawing import BLUE, ORANGE, Drawing, shape, tint, two_views

ALT = (
    "One view passes the query encoder, the other the key encoder, a moving average of the first. The query must match "
    "its key and none of the keys in a queue."
)


def draw() -> Drawing:
    d = Drawing(280, ALT)
    pair = two_views(shape("bowtie", 1), 0)
    query = d.box(150, 56, "encoder\n$f_q$", BLUE)
    key = d.box(150, 200, "encoder\n$f_k$", ORANGE)
    q, k = d.symbol(244, 56, "q"), d.symbol(244, 200, "k")
    for view, encoder, value in zip(pair, (query, key), (q, k)):
        small = d.image(48, encoder.y, 60, view)
        d.arrow(small.right, encoder.left)
        d.arrow(encoder.right, (value.x - 10, value.y))
    d.arrow(query.bottom, key.top, dashed=True)
    d.label(142, 128, "moving\naverage", anchor="end")
    d.arrow((244, 74), (244, 182), both=True)
    d.label(236, 128, "alike", anchor="end")
    for i in range(7):
        middle = 293 + 24 * i
        d.parts.append(d.rectangle(middle, 200, 18, 34, tint(ORANGE, 0.75 - 0.09 * i), ORANGE, 1))
    d.arrow((k.x + 10, 200), (282, 200))
    d.arrow((448, 200), (470, 200))
    d.label(365, 245, "queue of keys:\nnewest in, oldest out")
    d.arrow((258, 66), (356, 178), both=True)
    d.label(322, 110, "unlike all of them", anchor="start")
    return d
