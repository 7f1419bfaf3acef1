import math

from tools.ideas.drawing import COLORS, LINE, Drawing, shape, two_views

ALT = (
    "Features on a circle (a drawing). Before: the two views of each of four images lie anywhere. After: partners lie "
    "side by side, and the pairs are spread evenly."
)
RADIUS = 86
BEFORE = ((10, 150), (60, 250), (105, 330), (200, 290))  # in degrees: where the two views of each image lie
AFTER = ((28, 62), (118, 152), (208, 242), (298, 332))


def draw() -> Drawing:
    d = Drawing(280, ALT)
    pairs = [two_views(shape(name, 1), seed=1) for name in ("triangle", "heart", "moon", "bowtie")]
    for x, title, places in ((122, "before", BEFORE), (358, "after", AFTER)):
        d.label(x, 24, title, bold=True)
        d.parts.append(f'<circle cx="{x}" cy="152" r="{RADIUS}" stroke="{LINE}" stroke-width="1.5"/>')
        for pair, degrees, color in zip(pairs, places, COLORS):
            points = [at(x, 152, degree) for degree in degrees]
            d.line(points, color, 3)
            for view, point in zip(pair, points):
                d.image(*point, 34, view, color)
    return d


def at(x: float, y: float, degrees: float) -> tuple[float, float]:
    """The point of the circle around (x, y) in this direction."""
    angle = math.radians(degrees)
    return x + RADIUS * math.cos(angle), y - RADIUS * math.sin(angle)
