from tools.ideas.drawing import BLUE, GREY, ORANGE, Drawing, shape, two_views

ALT = (
    "Views of two rings and of two stars are nodes. Thick lines join views of one picture, thin ones rings with rings "
    "and stars with stars; one dashed line goes from a ring to a star. An arrow leads to a line on which the rings' "
    "nodes lie on the left and the stars' on the right: the graph's second eigenfunction."
)


def draw() -> Drawing:
    d = Drawing(300, ALT)
    groups = (("ring", 92, BLUE), ("star", 330, ORANGE))
    inner = {}
    for name, x, color in groups:
        for k, y in ((0, 66), (1, 150)):
            views = two_views(shape(name, k), seed=3 + k)
            left, right = x - 46, x + 46
            d.line([(left, y), (right, y)], color, 6)
            inner[name, k] = (left, right, y, views)
        for place in (x - 46, x + 46):
            d.line([(place, 66), (place, 150)], color, 2)
    d.line([(138, 150), (284, 150)], GREY, 2, dashed=True)
    for left, right, y, views in inner.values():
        d.image(left, y, 46, views[0])
        d.image(right, y, 46, views[1])
    d.label(211, 122, "rarely\nalike")
    d.arrow((211, 186), (211, 216))
    d.arrow((40, 254), (440, 254))
    for x in (92, 104, 118, 126):
        d.line([(x, 244), (x, 264)], BLUE, 5)
    for x in (318, 330, 340, 354):
        d.line([(x, 244), (x, 264)], ORANGE, 5)
    d.label(462, 254, "$φ_2$", size=19)
    d.label(342, 206, "thick: views of one picture\nthin: they look alike")
    return d
