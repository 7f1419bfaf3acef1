from tools.ideas.drawing import BLUE, PURPLE, Drawing, shape, two_views

ALT = (
    "An image and two random views of it. Each passes the encoder f to h and the projector g to z. The two z must be "
    "alike, and unlike those of all other images; h is kept."
)


def draw() -> Drawing:
    d = Drawing(270, ALT)
    image = shape("heart", 2)
    whole = d.image(44, 125, 62, image)
    encoder = d.box(222, 125, "encoder\n$f$", BLUE, width=78, height=200)
    projector = d.box(352, 125, "projector\n$g$", PURPLE, width=78, height=200)
    for y, view in zip((60, 190), two_views(image, 0)):
        small = d.image(140, y, 56, view)
        d.arrow((whole.x + 34, whole.y + (y - 125) / 4), small.left)
        h, z = d.symbol(288, y, "h"), d.symbol(434, y, "z")
        d.arrow(small.right, (encoder.left[0], y))
        d.arrow((encoder.right[0], y), (h.x - 9, y))
        d.arrow((h.x + 9, y), (projector.left[0], y))
        d.arrow((projector.right[0], y), (z.x - 9, y))
    d.label(288, 125, "kept")
    d.arrow((434, 78), (434, 112))
    d.arrow((434, 172), (434, 138))
    d.label(434, 125, "alike")
    d.label(126, 125, "random\nviews")
    d.label(464, 247, "and unlike the $z$ of all other images", anchor="end")
    return d
