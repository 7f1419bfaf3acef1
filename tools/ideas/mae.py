from itertools import pairwise

import torch

from sslbook import pretrained
from tools.ideas.drawing import BLUE, GREEN, Drawing, cut, shape, tiled

ALT = (
    "A picture cut into 64 patches, 40 of them blank. Only the other 24 go into the encoder. Their features go back "
    "into their places, the same mask token into all others; the decoder gets these 64 and predicts the 40."
)
BLANK = torch.tensor([0.68, 0.74, 0.83])
FEATURE = torch.tensor([0.31, 0.48, 0.68])
MASK_TOKEN = torch.tensor([0.87, 0.89, 0.92])


def draw() -> Drawing:
    d = Drawing(236, ALT)
    method = pretrained.load("mae-shapes")
    image = shape("ring")[None] / 255
    numbers = torch.rand(1, 64, generator=torch.Generator().manual_seed(9))
    hidden = numbers < numbers.sort().values[:, 40]
    with torch.no_grad():
        predicted = method.reconstruct(image, hidden)[0][0]
    patches = method.patchify(image)[0].unflatten(1, (4, 4, 3))  # (64, 4, 4, 3)
    visible = patches[~hidden[0]]
    patches[hidden[0]] = BLANK

    tokens = torch.empty(64, 4, 4, 3)
    tokens[~hidden[0]], tokens[hidden[0]] = FEATURE, MASK_TOKEN

    y = 84
    masked = d.image(50, y, 80, tiled(patches, 8))
    cut(d, masked, 8, 8)
    few = d.image(122, y, 40, tiled(visible, 4))
    cut(d, few, 6, 4)
    encoder = d.box(190, y, "encoder\n$f$", BLUE, width=72, height=96)
    put_back = d.image(266, y, 54, tiled(tokens, 8))
    cut(d, put_back, 8, 8)
    decoder = d.box(340, y, "decoder\n$g$", GREEN, width=70, height=58)
    whole = d.image(426, y, 80, predicted)
    for start, end in pairwise((masked, few, encoder, put_back, decoder, whole)):
        d.arrow(start.right, end.left)
    d.label(58, 158, "64 patches,\n40 hidden")
    d.label(134, 158, "24\nvisible")
    d.label(266, 182, "24 features in\ntheir places, one\nmask token for\neach of the 40")
    d.label(424, 158, "40 predicted,\n24 as given")
    return d
