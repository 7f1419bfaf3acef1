import torch
import torch.nn.functional as F
from torch import Tensor

from sslbook.blocks import block_places
from sslbook.vit import vit_micro
from tools.ideas.drawing import BLUE, GREEN, ORANGE, Drawing, Place, cut, shape, tiled

ALT = (
    "From a picture of 64 patches the context encoder sees those outside two target blocks. A predictor gets its "
    "features and the places of a block, and gives a feature for each of its patches. They must be like those that "
    "the target encoder, a moving average of the context encoder without gradient, makes of the whole picture."
)
BLANK = torch.tensor([0.87, 0.89, 0.92])
CORNERS = torch.tensor([[0.2, 0.65], [0.75, 0.25]])  # of the two target blocks, as shares of the way


def draw() -> Drawing:
    d = Drawing(334, ALT)
    image = shape("plus")[None] / 255
    targets = block_places(CORNERS, 3, 2, 8)  # (2, 6)
    hidden = torch.zeros(64, dtype=torch.bool)
    hidden[targets.flatten()] = True
    patches = image[0].unflatten(2, (8, 4)).unflatten(1, (8, 4)).permute(1, 3, 2, 4, 0).flatten(0, 1)
    seen = patches.masked_fill(hidden[:, None, None, None], 0.0) + hidden[:, None, None, None] * BLANK
    colours = features_as_colours(image)
    top, bottom = 84, 240
    context, whole = d.image(48, top, 80, tiled(seen, 8)), d.image(48, bottom, 80, image[0])
    student = d.box(148, top, "context\nencoder $f$", BLUE, width=84, height=58)
    teacher = d.box(148, bottom, "target\nencoder $f'$", ORANGE, width=84, height=58)
    predictor = d.box(262, top, "predictor\n$g$", GREEN, width=80, height=58)
    guess, truth = colours.clone(), colours.clone()
    guess[targets.flatten()] = 0.75 * colours[targets.flatten()] + 0.25 * colours.mean(dim=0)
    for x in (guess, truth):
        x[~hidden] = BLANK
    predicted, wanted = features(d, 410, top, guess), features(d, 410, bottom, truth)
    everything = features(d, 276, bottom, colours)
    for image_, first in ((context, student), (whole, teacher)):
        cut(d, image_, 8, 8)
        d.arrow(image_.right, first.left)
    d.arrow(student.right, predictor.left)
    d.arrow(predictor.right, predicted.left)
    d.arrow(teacher.right, everything.left)
    d.arrow(everything.right, wanted.left)
    d.arrow(student.bottom, teacher.top, dashed=True)
    d.arrow(predicted.bottom, wanted.top, both=True)
    d.stop(343, bottom)
    d.label(200, 162, "moving\naverage")
    d.label(424, 162, "alike", anchor="start")
    d.label(262, 34, "where? places of a block")
    d.arrow((262, 42), predictor.top)
    d.label(276, 300, "a feature for\neach patch")
    d.label(410, 300, "those of the\ntarget blocks")
    d.label(48, 300, "the whole\npicture")
    return d


def features(d: Drawing, x: float, y: float, colours: Tensor) -> Place:
    """64 features as tiles of one colour each."""
    place = d.image(x, y, 80, tiled(colours[:, None, None].expand(-1, 4, 4, 3), 8))
    cut(d, place, 8, 8)
    return place


def features_as_colours(image: Tensor) -> Tensor:
    """(64, 3) in [0, 1]: an untrained ViT's features of the patches, in their directions of most variance."""
    torch.manual_seed(0)
    with torch.no_grad():
        h = F.layer_norm(vit_micro().patch_features(image)[0], (96,))
    h = h - h.mean(dim=0)
    along = h @ torch.linalg.svd(h, full_matrices=False).Vh[:3].T
    return (0.5 + along / along.std(dim=0) / 5).clamp(0, 1)
