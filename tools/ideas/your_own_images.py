from tools.ideas.drawing import BLUE, GREEN, ORANGE, PURPLE, Drawing

ALT = (
    "A folder of photos; copies and bursts grouped; an encoder, yours or a published one; one vector a photo, on disk; "
    "and from there the search and the probe."
)


def draw() -> Drawing:
    d = Drawing(240, ALT)
    y = 62
    folder = d.box(54, y, "a folder\nof photos", ORANGE, width=82, height=76)
    groups = d.box(164, y, "copies\nand bursts\ngrouped", ORANGE, width=90, height=76)
    encoder = d.box(290, y, "encoder:\nyours, or a\npublished\none", BLUE, width=96, height=88)
    features = d.box(416, y, "one vector\na photo,\non disk", PURPLE, width=92, height=76)
    for start, end in ((folder, groups), (groups, encoder), (encoder, features)):
        d.arrow(start.right, end.left)
    search = d.box(250, 190, "search:\nthe nearest $k$", GREEN, width=124, height=56)
    probe = d.box(402, 190, "probe:\na few labels", GREEN, width=112, height=56)
    d.arrow((402, 100), probe.top)
    d.arrow((402, 131), (250, 131), search.top)
    return d
