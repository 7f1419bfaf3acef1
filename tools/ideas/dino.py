import torch
from torch import Tensor

from sslbook.views import Augmentation
from tools.ideas.drawing import BLUE, GREY, ORANGE, PURPLE, Drawing, Place, shape

ALT = (
    "The student sees a small crop of an image, the teacher a large one. Both give scores for K prototypes. The "
    "teacher's are centred, so that no prototype takes all images, and then sharpened by a low temperature, so that "
    "not all get the same. The student's distribution must be like the teacher's. The teacher is a moving average of "
    "the student, without gradient."
)
SCORES = torch.tensor([0.9, 0.45, 0.75, 0.3, 0.5, 0.35])  # of the teacher for six prototypes
CENTRE = torch.tensor([0.8, 0.4, 0.3, 0.35, 0.45, 0.4])


def draw() -> Drawing:
    d = Drawing(396, ALT)
    image = shape("plus", 1)
    top, bottom = 82, 226
    small, large = crop(image, 14, (0.25, 0.3), 5), crop(image, 26, (0.75, 0.9), 0)
    student = [d.box(124, top, "encoder\n$f_s$", BLUE), d.box(220, top, "head\n$h_s$", PURPLE)]
    teacher = [d.box(124, bottom, "encoder\n$f_t$", ORANGE), d.box(220, bottom, "head\n$h_t$", ORANGE)]
    for view, side, row in ((small, 34, student), (large, 56, teacher)):
        before = d.image(40, row[0].y, side, view)
        for place in row:
            d.arrow(before.right, place.left)
            before = place
    P_s = ((SCORES - CENTRE) / 0.25).softmax(dim=0)
    P_t = ((SCORES - CENTRE) / 0.1).softmax(dim=0)
    bars_s, bars_t = bars(d, 402, top, P_s, PURPLE), bars(d, 402, bottom, P_t, ORANGE)
    d.arrow(student[1].right, bars_s.left)
    d.arrow(teacher[1].right, bars_t.left)
    d.label(306, top - 16, "soft")
    d.arrow((402, top + 34), (402, bottom - 34), both=True)
    d.label(392, 154, "alike", anchor="end")
    for above, below in zip(student, teacher):
        d.arrow(above.bottom, below.top, dashed=True)
    d.label(172, 154, "moving\naverage")
    d.stop(302, bottom)
    d.label(306, bottom - 34, "centre,\nsharpen")
    d.label(14, 28, "student: learns, sees all crops", anchor="start", bold=True)
    d.label(14, 282, "teacher: follows slowly, sees large crops", anchor="start", bold=True)
    forces(d, 346)
    return d


def forces(d: Drawing, y: float) -> None:
    """What each of the two does alone, in bars."""
    flat, one = torch.full((6,), 1 / 6), torch.tensor([0.02, 0.02, 0.9, 0.02, 0.02, 0.02])
    bars(d, 70, y, flat, GREY)
    d.label(118, y, "only centred:\nall the same", anchor="start")
    bars(d, 300, y, one, GREY)
    d.label(348, y, "only sharpened:\none takes all", anchor="start")


def bars(d: Drawing, x: float, y: float, shares: Tensor, color: str) -> Place:
    """A distribution as bars on a line, around (x, y)."""
    width, height = 72.0, 48.0
    step, ground = width / len(shares), y + height / 2
    for k, share in enumerate(shares.tolist()):
        tall = max(2.0, height * share)
        middle = x - width / 2 + step * (k + 0.5)
        d.parts.append(d.rectangle(middle, ground - tall / 2, step - 4, tall, color, color, 0))
    d.line([(x - width / 2 - 3, ground), (x + width / 2 + 3, ground)])
    return Place(x, y, width + 12, height)


def crop(image: Tensor, size: int, scale: tuple[float, float], seed: int) -> Tensor:
    """A random crop (3, size, size) of an image, with its share of the area."""
    view = Augmentation(size, scale=scale, jitter=1.0, brightness=0.2, contrast=0.2, saturation=0.3, hue=0.5)
    return view(image[None], torch.Generator().manual_seed(seed))[0]
