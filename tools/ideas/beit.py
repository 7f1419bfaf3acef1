import torch
from torch import Tensor

from sslbook import sets
from sslbook.masks import DRAWS, blockwise_masks
from sslbook.tokenisers import Tokeniser, mean_patches, patches_of, pictures_of
from tools.ideas.drawing import BLUE, GREEN, ORANGE, PAPER, Drawing, Place, shape

ALT = (
    "A picture of a shape, cut into 64 patches, goes two ways. Below, a tokeniser that sees all of it gives a code to "
    "each patch. Above, blocks of patches are replaced by one mask token, and the encoder names the codes there. "
    "The two are compared at the hidden places; no gradient reaches the tokeniser."
)
MASK_TOKEN = torch.tensor([0.80, 0.84, 0.90])


def draw() -> Drawing:
    d = Drawing(330, ALT)
    image = shape("star")[None] / 255
    known, _ = sets.load("shapes", train=400, test=1)
    tokeniser = Tokeniser("gradients", 64, 4).fit(known.images, torch.Generator().manual_seed(0))
    palette = mean_patches(known.images / 255, tokeniser(known.images / 255), 64)
    hidden = blockwise_masks(torch.rand(1, DRAWS, 4, generator=torch.Generator().manual_seed(5)), 8, 26)[0]
    coded = pictures_of(palette[tokeniser(image)], 4)[0]

    picture = d.image(52, 160, 80, image[0])
    cut(d, picture)
    masked = d.image(168, 84, 80, blank(image, hidden))
    cut(d, masked)
    encoder = d.box(274, 84, "encoder\n$f$", BLUE, width=72, height=70)
    head = d.box(352, 84, "$W$", GREEN, width=40, height=40)
    named = d.image(432, 84, 72, only(coded, hidden))
    cut(d, named)
    tokens = d.box(200, 236, "tokeniser", ORANGE, width=96, height=50)
    codes = d.image(432, 236, 72, coded)
    cut(d, codes)
    d.arrow((picture.x, picture.top[1]), (picture.x, 84), masked.left)
    d.arrow((picture.x, picture.bottom[1]), (picture.x, 236), tokens.left)
    d.arrow(masked.right, encoder.left)
    d.arrow(encoder.right, head.left)
    d.arrow(head.right, named.left)
    d.arrow(tokens.right, codes.left)
    d.stop(320, 236)
    d.arrow(named.bottom, codes.top, both=True)
    d.label(420, 160, "cross-entropy\nwhere hidden", anchor="end")
    d.label(168, 142, "26 of 64 hidden")
    d.label(432, 36, "guessed")
    d.label(240, 304, "64 codes, one for each patch")
    return d


def blank(image: Tensor, hidden: Tensor) -> Tensor:
    """The image (1, 3, H, W) with the mask token's colour in the hidden patches: (3, H, W)."""
    patches = patches_of(image, 4)
    colour = MASK_TOKEN.repeat_interleave(16)
    return pictures_of(torch.where(hidden[None, :, None], colour, patches), 4)[0]


def only(picture: Tensor, hidden: Tensor) -> Tensor:
    """A picture (3, H, W) with its visible patches in white."""
    patches = patches_of(picture[None], 4)
    return pictures_of(torch.where(hidden[None, :, None], patches, 1.0), 4)[0]


def cut(d: Drawing, image: Place) -> None:
    """Light lines between an image's patches, 8 x 8."""
    left, top = image.left[0], image.top[1]
    for i in range(1, 8):
        y, x = top + i * image.height / 8, left + i * image.width / 8
        d.line([(left, y), (left + image.width, y)], PAPER, 1)
        d.line([(x, top), (x, top + image.height)], PAPER, 1)
