import torch
from torch import Tensor

from sslbook import pretrained
from tools.ideas.drawing import BLUE, GREEN, PAPER, Drawing, Place, shape

ALT = (
    "A picture cut into 64 patches, 40 of them blank. Only the other 24 go into the encoder; the decoder gets their "
    "features and a token for each hidden patch, and predicts the whole picture."
)
BLANK = torch.tensor([0.68, 0.74, 0.83])


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

    y = 84
    masked = d.image(62, y, 96, tiled(patches, 8))
    cut(d, masked, 8, 8)
    few = d.image(166, y, 48, tiled(visible, 4))
    cut(d, few, 6, 4)
    encoder = d.box(252, y, "encoder\n$f$", BLUE, width=72, height=96)
    decoder = d.box(338, y, "decoder\n$g$", GREEN, width=70, height=58)
    whole = d.image(430, y, 80, predicted)
    for start, end in ((masked, few), (few, encoder), (encoder, decoder), (decoder, whole)):
        d.arrow(start.right, end.left)
    d.label(62, 168, "64 patches,\n40 hidden")
    d.label(166, 168, "24\nvisible")
    d.arrow((338, 162), decoder.bottom)
    d.label(318, 190, "the same token for\neach hidden patch,\nand all positions")
    d.label(430, 146, "all 64\npredicted")
    return d


def tiled(patches: Tensor, columns: int) -> Tensor:
    """Patches (n, 4, 4, 3) side by side, as one image (3, H, W)."""
    rows = patches.unflatten(0, (-1, columns))  # (rows, columns, 4, 4, 3)
    return rows.permute(4, 0, 2, 1, 3).flatten(3, 4).flatten(1, 2)


def cut(d: Drawing, image: Place, rows: int, columns: int) -> None:
    """Light lines between an image's patches."""
    left, top = image.left[0], image.top[1]
    for i in range(1, rows):
        y = top + i * image.height / rows
        d.line([(left, y), (left + image.width, y)], PAPER, 2)
    for i in range(1, columns):
        x = left + i * image.width / columns
        d.line([(x, top), (x, top + image.height)], PAPER, 2)
