from tools.ideas.drawing import BLUE, GREEN, ORANGE, Drawing, shape, two_views

ALT = (
    "Above, step 1: all images pass encoder and projector, and k-means puts their z into clusters, a number each. "
    "Below, step 2: two views of an image pass the same networks and are compared with the centroids; both are to be "
    "found in the cluster of their image. After some epochs step 1 comes again, with the better network."
)
GROUPS = (("star", "star", "plus"), ("heart", "heart", "heart"), ("moon", "moon", "disc"))
CHOSEN = 2  # the group of the image below


def draw() -> Drawing:
    d = Drawing(452, ALT)
    d.label(16, 24, "1  cluster all images", anchor="start", bold=True)
    for i in range(9):  # one of each group after the other
        d.image(28 + 32 * (i % 3), 64 + 34 * (i // 3), 28, picture(i % 3, i // 3))
    network = d.box(180, 98, "encoder\nprojector", BLUE, width=84, height=76)
    means = d.box(288, 98, "k-means", ORANGE, width=76, height=50)
    d.arrow((114, 98), network.left)
    d.arrow(network.right, means.left)
    for group in range(3):
        y = 54 + 46 * group
        for i in range(3):
            d.image(378 + 31 * i, y, 28, picture(group, i))
        d.label(352, y, str(group + 1), bold=True)
    d.arrow(means.right, (343, 98))
    d.frame(409, 54 + 46 * CHOSEN, 100, 36, ORANGE)

    d.label(16, 216, "2  classify: in which cluster is it?", anchor="start", bold=True)
    for y, view in zip((258, 326), two_views(shape("moon", 0), 1)):
        small = d.image(44, y, 52, view)
        d.arrow(small.right, (138, y))
    network = d.box(180, 292, "encoder\nprojector", BLUE, width=84, height=120)
    centroids = d.box(288, 292, "centroids", ORANGE, width=76, height=50)
    answer = d.box(409, 292, str(CHOSEN + 1), GREEN, width=40, height=50)
    d.arrow(network.right, centroids.left)
    d.arrow(centroids.right, answer.left)
    d.arrow((409, 166), answer.top)
    d.label(408, 206, "pseudo-\nlabel", anchor="end")
    d.label(240, 388, "The gradient reaches encoder and projector;")
    d.label(240, 408, "the centroids stay until the next clustering.")
    d.label(240, 432, "After some epochs: step 1 again.", bold=True)
    return d


def picture(group: int, i: int):
    """Image i of a group; the same shape is another picture each time."""
    name = GROUPS[group][i]
    return shape(name, GROUPS[group][:i].count(name))
