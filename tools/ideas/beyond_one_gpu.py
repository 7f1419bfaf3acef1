from tools.ideas.drawing import BLUE, ORANGE, Drawing

ALT = (
    "Two GPUs, each with half of the rows: encoder, its z, the whole loss, its gradient. Between them three arrows go "
    "both ways: mean and variance of batch norm, the gather of z with its gradient, and the average of the gradients."
)
COLUMNS = ((54, 80), (150, 76), (236, 56), (324, 84), (422, 80))  # where the boxes stand, and their widths


def draw() -> Drawing:
    d = Drawing(320, ALT)
    lanes = ((74, 28, "GPU 0", "1–128", BLUE), (246, 292, "GPU 1", "129–256", ORANGE))
    for y, name_y, name, rows, color in lanes:
        d.label(54, name_y, name, bold=True)
        words = (f"rows\n{rows}", "encoder\n$f$", "its $z$", "the whole\nloss", "its\ngradient")
        boxes = [d.box(x, y, text, color, width, 60) for (x, width), text in zip(COLUMNS, words)]
        for before, after in zip(boxes, boxes[1:]):
            d.arrow(before.right, after.left)
    for x, words in (
        (150, "batch norm:\nmean,\nvariance"),
        (273, "gather:\nrows there,\ngradient back"),
        (422, "average"),
    ):
        d.arrow((x, 110), (x, 210), both=True)
        d.label(x - 10, 160, words, anchor="end")
    return d
