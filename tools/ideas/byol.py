from tools.ideas.drawing import BLUE, GREEN, ORANGE, PURPLE, Drawing, shape, two_views

ALT = (
    "Online: encoder, projector and predictor. Target: encoder and projector, a moving average of the online ones "
    "without gradient. The prediction must be like the target."
)


def draw() -> Drawing:
    d = Drawing(310, ALT)
    pair = two_views(shape("star", 1), 1)
    top, bottom = 90, 222
    online = [
        d.box(126, top, "encoder\n$f_θ$", BLUE),
        d.box(224, top, "projector\n$g_θ$", PURPLE),
        d.box(322, top, "predictor\n$q_θ$", GREEN),
    ]
    target = [d.box(126, bottom, "encoder\n$f_ξ$", ORANGE), d.box(224, bottom, "projector\n$g_ξ$", ORANGE)]
    values = d.symbol(424, top, "q_θ(z_θ)", width=82), d.symbol(424, bottom, "z′_ξ")
    for view, row, value in zip(pair, (online, target), values):
        before = d.image(38, row[0].y, 52, view)
        for place in [*row, value]:
            d.arrow(before.right, place.left)
            before = place
    for above, below in zip(online, target):
        d.arrow(above.bottom, below.top, dashed=True)
    d.label(175, 156, "moving\naverage")
    d.stop(330, bottom)
    d.label(330, bottom + 28, "stop-gradient")
    d.arrow((424, top + 20), (424, bottom - 20), both=True)
    d.label(414, 156, "alike", anchor="end")
    d.label(224, 36, "online: learns from the gradient", bold=True)
    d.label(175, 282, "target: follows slowly", bold=True)
    return d
