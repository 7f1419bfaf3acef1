"""Random views of a whole batch of images: draws first, pixels second.

A view is 36 uniform numbers. `Augmentation.parameters` turns them into what happens to each image (crop box,
flip, colour factors, blur, ...), and `apply` renders all images at once, every image with its own draw, on the
images' device. The numbers are drawn on the CPU: the same seed gives the same views everywhere.

The arithmetic is torchvision's, op for op (`resized_crop` with antialiasing, `adjust_*`, `rgb_to_grayscale`,
`gaussian_blur`, `solarize`), but torchvision's own transforms draw one set of numbers for a whole batch.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from sslbook.images import as_floats

CROP_TRIES = 10  # as torchvision's RandomResizedCrop: draw a box up to ten times until one fits
DRAWS = 2 * CROP_TRIES + 16
GREY_WEIGHTS = (0.2989, 0.587, 0.114)  # ITU-R 601, as torchvision and PIL
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
NEUTRAL = (1.0, 1.0, 1.0, 0.0)  # factors that change nothing


@dataclass(frozen=True)
class ViewParameters:
    """What happens to each of n images, in this order; every field has n rows."""

    box: Tensor  # (n, 4) top, left, height, width in pixels
    flip: Tensor  # (n,) bool, left-right
    factors: Tensor  # (n, 4) brightness, contrast, saturation (1 = unchanged), hue shift in turns (0 = unchanged)
    order: Tensor  # (n, 4) in which order the four colour changes act
    grey: Tensor  # (n,) bool
    sigma: Tensor  # (n,) blur in pixels, 0 = none
    solarize: Tensor  # (n,) bool, invert what is brighter than one half

    def __getitem__(self, rows) -> ViewParameters:
        return ViewParameters(*(getattr(self, f.name)[rows] for f in fields(self)))

    def to(self, device: torch.device | str) -> ViewParameters:
        return ViewParameters(*(getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)))


@dataclass(frozen=True)
class Augmentation:
    """One family of random views. Probabilities lie in [0, 1]; the defaults change nothing but the crop.

    `scale` and `ratio` bound the crop's share of the image's area and its width / height. Brightness, contrast and
    saturation factors lie in [max(0, 1 - x), 1 + x], the hue shift in [-hue, hue] turns (hue <= 0.5).

    >>> view = Augmentation(size=32, scale=(0.2, 1), flip=0.5)(images, torch.Generator().manual_seed(0))
    """

    size: int
    scale: tuple[float, float] = (1.0, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.0
    jitter: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grey: float = 0.0
    blur: float = 0.0
    sigma: tuple[float, float] = (0.1, 2.0)
    solarize: float = 0.0

    def __post_init__(self):
        for name in ("flip", "jitter", "grey", "blur", "solarize"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability in [0, 1], got {getattr(self, name)}")
        for name in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a number that is not negative, got {getattr(self, name)}")
        if not 0 <= self.hue <= 0.5:
            raise ValueError(f"hue is a shift of at most half a turn, in [0, 0.5], got {self.hue}")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale is two shares of the area, 0 < low <= high <= 1, got {self.scale}")
        if not 0 < self.ratio[0] <= self.ratio[1] < math.inf:
            raise ValueError(f"ratio is two numbers, width / height, 0 < low <= high, got {self.ratio}")
        if not 0 <= self.sigma[0] <= self.sigma[1] < math.inf:
            raise ValueError(f"sigma is two blurs in pixels, 0 <= low <= high, got {self.sigma}")
        if self.size < 1:
            raise ValueError(f"size is the side of a view in pixels, at least 1, got {self.size}")

    def with_strength(self, strength: float) -> Augmentation:
        """The same family with its colour changes times `strength` (SimCLR, appendix A; 0 = no colour change)."""
        scaled = {c: strength * getattr(self, c) for c in ("brightness", "contrast", "saturation", "hue")}
        return replace(self, **scaled)

    def sample(self, n: int, height: int, width: int, generator: torch.Generator | None = None) -> ViewParameters:
        """Draw the parameters of n views of images of height x width pixels (on the CPU)."""
        return self.parameters(torch.rand(n, DRAWS, generator=generator), height, width)

    def parameters(self, u: Tensor, height: int, width: int) -> ViewParameters:
        """Parameters from uniform numbers `u` (n, DRAWS) in [0, 1): no randomness in here."""
        areas, ratios, u = u[:, :CROP_TRIES], u[:, CROP_TRIES : 2 * CROP_TRIES], u[:, 2 * CROP_TRIES :]
        jittered = (u[:, 3] < self.jitter)[:, None]
        strength = torch.tensor([self.brightness, self.contrast, self.saturation, self.hue])
        neutral = torch.tensor(NEUTRAL)
        low = torch.maximum(neutral - strength, torch.tensor([0.0, 0.0, 0.0, -0.5]))
        factors = low + (neutral + strength - low) * u[:, 4:8]
        sigma = self.sigma[0] + (self.sigma[1] - self.sigma[0]) * u[:, 14]
        return ViewParameters(
            box=self._box(areas, ratios, corner=u[:, :2], size=(height, width)),
            flip=u[:, 2] < self.flip,
            factors=torch.where(jittered, factors, neutral),
            order=u[:, 8:12].argsort(dim=1),
            grey=u[:, 12] < self.grey,
            sigma=torch.where(u[:, 13] < self.blur, sigma, torch.zeros(())),
            solarize=u[:, 15] < self.solarize,
        )

    def _box(self, areas: Tensor, ratios: Tensor, corner: Tensor, size: tuple[int, int]) -> Tensor:
        """The first of the tried boxes that fits, else the largest central one of an allowed ratio.

        From uniform numbers: (n, CROP_TRIES) for areas and ratios, (n, 2) for the upper left corner.
        """
        height, width = size
        u_top, u_left = corner.unbind(dim=1)
        area = height * width * (self.scale[0] + (self.scale[1] - self.scale[0]) * areas)
        low, high = (math.log(r) for r in self.ratio)
        ratio = torch.exp(low + (high - low) * ratios)
        w, h = torch.round(torch.sqrt(area * ratio)), torch.round(torch.sqrt(area / ratio))
        fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
        first = fits.int().argmax(dim=1, keepdim=True)
        found = fits.any(dim=1)
        fallback_w = min(width, round(height * self.ratio[1]))
        fallback_h = min(height, round(width / self.ratio[0]))
        w = torch.where(found, w.gather(1, first)[:, 0], float(fallback_w))
        h = torch.where(found, h.gather(1, first)[:, 0], float(fallback_h))
        top = torch.where(found, torch.floor(u_top * (height - h + 1)), (height - h) // 2)
        left = torch.where(found, torch.floor(u_left * (width - w + 1)), (width - w) // 2)
        return torch.stack([top, left, h, w], dim=1)

    def apply(self, images: Tensor, parameters: ViewParameters) -> Tensor:
        """Render the views: images (n, 3, H, W), uint8 or float in [0, 1], to (n, 3, size, size) floats in [0, 1].

        Half precision becomes float32: its smallest number is too large for the hue of a grey pixel.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be (n, 3, height, width), got {tuple(images.shape)}")
        if len(images) != len(parameters.flip):
            raise ValueError(f"{len(images)} images but parameters of {len(parameters.flip)} views")
        p = parameters.to(images.device)
        x = as_floats(images)
        x = resized_crop(x, p.box, p.flip, self.size)
        if self.jitter:
            x = color_jitter(x, parameters.factors, parameters.order)
        if self.grey:
            rows = parameters.grey.nonzero()[:, 0].to(x.device, non_blocking=True)
            x[rows] = grey(x[rows])
        if self.blur:
            x = gaussian_blur(x, p.sigma, blur_kernel_size(self.size))
        if self.solarize:
            x = torch.where(_rows(p.solarize) & (x >= 0.5), 1 - x, x)
        return x.clamp_(0, 1)  # rounding may leave a pixel at 1.0000001

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One random view of every image."""
        n, _, height, width = images.shape
        return self.apply(images, self.sample(n, height, width, generator))


def _rows(x: Tensor) -> Tensor:
    return x.view(-1, 1, 1, 1)


def resized_crop(images: Tensor, box: Tensor, flip: Tensor, size: int) -> Tensor:
    """Cut each image's box (n, 4: top, left, height, width), resize it to size x size with antialiasing, flip.

    A bilinear resize is a matrix per axis, so crop, resize and flip of a whole batch are two batched products.
    """
    top, left, height, width = box.to(images.dtype).unbind(1)
    rows = _resize_matrix(top, height, images.shape[2], size)
    return _two_products(rows, images, _resize_matrix(left, width, images.shape[3], size, flip))


def _two_products(rows: Tensor, images: Tensor, columns: Tensor) -> Tensor:
    """rows @ image @ columns^T for each channel."""
    n, channels, height, width = images.shape
    x = images.reshape(n, channels * height, width) @ columns.mT
    return rows[:, None] @ x.view(n, channels, height, -1)


def _resize_matrix(start: Tensor, length: Tensor, source: int, target: int, flip: Tensor | None = None) -> Tensor:
    """(n, target, source) triangle-filter weights that read `length` pixels from `start` into `target` pixels."""
    length, step = length[:, None], (length / target)[:, None]
    pixel = torch.arange(source, device=start.device, dtype=start.dtype) + 0.5 - start[:, None]  # (n, source)
    center = (torch.arange(target, device=start.device, dtype=start.dtype) + 0.5) * step  # (n, target)
    if flip is not None:
        center = torch.where(flip[:, None], length - center, center)
    inside = ((pixel > 0) & (pixel < length)).to(start.dtype)  # nothing from outside the box
    distance = (pixel[:, None] - center[:, :, None]).abs_().div_(step.clamp(min=1)[:, :, None])
    weights = distance.neg_().add_(1).clamp_(min=0).mul_(inside[:, None])
    return weights.div_(weights.sum(dim=2, keepdim=True))


def color_jitter(images: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """Brightness, contrast, saturation and hue (factors (n, 4)) in each image's own order (n, 4).

    It gives what `plain_color_jitter` gives, up to rounding, in half the time. Images are sorted by when their hue
    turns, and what changes nothing comes last: so each of the six blends (three before, three after the hue) is one
    slice. The order is read on the CPU, where it was drawn.
    """
    order, on_cpu = order.cpu(), factors.cpu()
    changes = (on_cpu != torch.tensor(NEUTRAL)).any(dim=1)
    hue_step, rows = torch.where(changes, (order == HUE).int().argmax(dim=1), 4).sort(stable=True)
    until = torch.searchsorted(hue_step, torch.arange(4), right=True).tolist()  # how many have turned by each step
    which = order[order != HUE].view(-1, 3)[rows]  # the three blends, in their order
    f = on_cpu[rows].gather(1, which)
    to_mean = torch.where(which == CONTRAST, 1 - f, 0.0)
    to_grey = torch.where(which == SATURATION, 1 - f, 0.0)
    mix = torch.stack([f, to_mean, to_grey])[..., None, None, None]  # (3, n, 3, 1, 1, 1)
    mix, turns = (numbers.to(images, non_blocking=True) for numbers in (mix, on_cpu[rows, HUE]))
    x = images.index_select(0, rows.to(images.device, non_blocking=True))
    for i in range(3):
        _blend_(x[until[i] : until[3]], *mix[:, until[i] : until[3], i])
    _turn_hue_(x[: until[3]], turns[: until[3]])
    for i in range(3):
        _blend_(x[: until[i]], *mix[:, : until[i], i])
    return x.index_select(0, rows.argsort().to(images.device, non_blocking=True))


def plain_color_jitter(images: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """What `color_jitter` computes, one step and one change at a time; the tests hold the two together."""
    x = images.clone()
    for step in range(4):
        for change in range(4):
            rows = (order[:, step] == change).nonzero()[:, 0]
            part, factor = x[rows], factors[rows, change].view(-1, 1, 1, 1)
            if change == HUE:
                x[rows] = adjust_hue(part, factors[rows, HUE])
                continue
            other = torch.zeros_like(part)
            if change == CONTRAST:
                other = grey(part).mean(dim=(2, 3), keepdim=True)
            elif change == SATURATION:
                other = grey(part)
            x[rows] = (factor * part + (1 - factor) * other).clamp(0, 1)
    return x


def _blend_(x: Tensor, f: Tensor, to_mean: Tensor, to_grey: Tensor) -> None:
    """f * image + (1 - f) * other in place, where other is black, the mean grey (contrast) or the grey image."""
    other = grey(x)
    mean = other.mean(dim=(2, 3), keepdim=True) * to_mean
    x.mul_(f).add_(other.mul_(to_grey).add_(mean)).clamp_(0, 1)


def grey(images: Tensor) -> Tensor:
    """(n, 3, H, W) to (n, 1, H, W)."""
    r, g, b = images.split(1, dim=1)
    return (r * GREY_WEIGHTS[0]).add_(g, alpha=GREY_WEIGHTS[1]).add_(b, alpha=GREY_WEIGHTS[2])


def adjust_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turn every image's hue by turns (n,), keeping value and saturation of HSV."""
    x = images.clone()
    _turn_hue_(x, turns)
    return x


def _turn_hue_(x: Tensor, turns: Tensor) -> None:
    """`adjust_hue` in place, without a branch: on two cores `where` costs more than all of this."""
    r, g, b = x.split(1, dim=1)
    low = torch.minimum(torch.minimum(r, g), b)
    chroma = torch.maximum(torch.maximum(r, g), b).sub_(low)
    # in sixths of a turn from red, towards green or, if there is more blue, the other way round
    hue = (g + b).sub_(r).sub_(low).div_(chroma.clamp(min=1e-12)).add_(1).copysign_(g - b)
    hue = hue.div_(6).add_(_rows(turns))
    hue = hue.sub_(hue.floor()).mul_(6)
    # red is full up to one sixth away from 0, green around 2, blue around 4, each falling over one more sixth
    torch.sub(hue, 3, out=r).abs_().sub_(1)
    torch.sub(hue, 2, out=g).abs_().neg_().add_(2)
    torch.sub(hue, 4, out=b).abs_().neg_().add_(2)
    x.clamp_(0, 1).mul_(chroma).add_(low)


def blur_kernel_size(size: int) -> int:
    """SimCLR's kernel is a tenth of the image's side, made odd (23 at 224 px, 3 at 32 px)."""
    return size // 10 // 2 * 2 + 1


def gaussian_blur(images: Tensor, sigma: Tensor, kernel_size: int) -> Tensor:
    """Blur each image with its own sigma (n,), 0 = leave it; reflected borders, as a matrix per axis."""
    sigma = sigma.to(images.dtype)
    rows = _blur_matrix(sigma, kernel_size, images.shape[2])
    columns = rows if images.shape[2] == images.shape[3] else _blur_matrix(sigma, kernel_size, images.shape[3])
    return _two_products(rows, images, columns)


def _blur_matrix(sigma: Tensor, kernel_size: int, length: int) -> Tensor:
    """(n, length, length) Gaussian weights, what falls outside reflected back in."""
    offset = torch.arange(kernel_size, device=sigma.device) - kernel_size // 2
    g = torch.exp(-0.5 * (offset / sigma.clamp(min=1e-3)[:, None]) ** 2)
    g = g / g.sum(dim=1, keepdim=True)  # (n, kernel_size)
    source = (torch.arange(length, device=sigma.device)[:, None] + offset).abs()
    source = torch.where(source > length - 1, 2 * (length - 1) - source, source)  # (length, kernel_size)
    matrix = torch.zeros(len(sigma), length, length, device=sigma.device, dtype=sigma.dtype)
    index, weights = source.expand(len(sigma), -1, -1), g[:, None].expand(-1, length, -1)
    return matrix.scatter_add_(2, index, weights)


class Views(tuple[Augmentation, ...]):
    """Random views of images: one `Augmentation` for each view that a method asks for.

    What `pretrain` wants of views are these three methods; those of a text are another class that has them too.
    """

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """The uniform numbers (views, n, DRAWS) that decide one view of each of n images from each augmentation."""
        return torch.rand(len(self), n, DRAWS, generator=generator)

    def render(self, images: Tensor, draws: Tensor | torch.Generator | None = None) -> list[Tensor]:
        """One view of every image (n, 3, H, W) from each augmentation: floats (n, 3, size, size) in [0, 1].

        Equal augmentations are rendered in one batch, whatever their number and size. `draws` are those of `draw`, or
        the generator to draw them from.
        """
        if not isinstance(draws, Tensor):
            draws = self.draw(len(images), draws)
        height, width = images.shape[2:]
        rendered: dict[int, Tensor] = {}
        for augmentation in dict.fromkeys(self):
            places = [i for i, other in enumerate(self) if other == augmentation]
            parameters = augmentation.parameters(draws[places].flatten(0, 1), height, width)
            copies = images.repeat(len(places), 1, 1, 1)
            made = augmentation.apply(copies, parameters).chunk(len(places))
            rendered.update(zip(places, made))
        return [rendered[i] for i in range(len(self))]

    def settings(self) -> list[dict[str, Any]]:
        """What a log says of them: plain numbers."""
        return [asdict(augmentation) for augmentation in self]


def simclr_views(size: int, strength: float = 1.0) -> Views:
    """SimCLR's two views (Chen et al., 2020, appendix A); for 32 px use `cifar_views`."""
    view = Augmentation(
        size,
        scale=(0.08, 1),
        flip=0.5,
        jitter=0.8,
        brightness=0.8,
        contrast=0.8,
        saturation=0.8,
        hue=0.2,
        grey=0.2,
        blur=0.5,
    )
    return Views([view.with_strength(strength)] * 2)


def moco_v2_views(size: int) -> Views:
    """MoCo v2's two views, also SimSiam's (Chen et al., 2020, "Improved Baselines", section 3)."""
    view = Augmentation(
        size,
        scale=(0.2, 1),
        flip=0.5,
        jitter=0.8,
        brightness=0.4,
        contrast=0.4,
        saturation=0.4,
        hue=0.1,
        grey=0.2,
        blur=0.5,
    )
    return Views([view] * 2)


def byol_views(size: int) -> Views:
    """BYOL's two unlike views: one always blurred, one sometimes solarised (Grill et al., 2020, appendix B)."""
    view = Augmentation(
        size,
        scale=(0.08, 1),
        flip=0.5,
        jitter=0.8,
        brightness=0.4,
        contrast=0.4,
        saturation=0.2,
        hue=0.1,
        grey=0.2,
        blur=1.0,
    )
    return Views([view, replace(view, blur=0.1, solarize=0.2)])


def cifar_views(size: int = 32, strength: float = 0.5) -> Views:
    """SimCLR's views for small images: strength 0.5 and no blur (Chen et al., 2020, appendix B.9)."""
    return Views(replace(view, blur=0.0) for view in simclr_views(size, strength))


def shapes_views(size: int = 32) -> Views:
    """For the embedded shapes: a full turn of hue, as hue tells two shapes apart as surely as a name tag would."""
    view = Augmentation(
        size, scale=(0.25, 1), flip=0.5, jitter=0.8, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.5, grey=0.2
    )
    return Views([view] * 2)


def multi_crop(
    views: Views, small: int, number: int = 6, scale: tuple[float, float] = (0.05, 0.14), **changes: Any
) -> Views:
    """The given views, now large crops, and after them `number` small crops of `small` px.

    It is multi-crop (Caron et al., 2020, section 3.2): many more views for little more work.
    A small crop shows a share of the image between the two of `scale`, a large one at least the second of them; what
    else happens to a small crop is what happens to the first of `views`, but for `changes`, settings of an
    `Augmentation`. A crop of half the side costs an encoder about a quarter. Raises ValueError if there is no view,
    `small` is larger than they are, or `number` is negative.

    >>> views = multi_crop(shapes_views(24), small=16, number=4, scale=(0.1, 0.25))
    """
    if not views:
        raise ValueError("views are the large crops, at least one; got none")
    smallest = min(view.size for view in views)
    if not 1 <= small <= smallest:
        raise ValueError(f"small is a side in pixels, at most the {smallest} px of the large crops; got {small}")
    if number < 0:
        raise ValueError(f"number of small crops must not be negative, got {number}")
    large = [replace(view, scale=(scale[1], 1)) for view in views]
    return Views([*large, *[replace(large[0], size=small, scale=scale, **changes)] * number])


def multi_crop_views(size: int = 224) -> Views:
    """SwAV's views: SimCLR's changes on two large crops and six small ones, 96 px for 224 (section 3.2, appendix A)."""
    return multi_crop(simclr_views(size), small=max(1, round(size * 96 / 224)))


def crop_views(size: int = 32, smallest: float = 0.2) -> Views:
    """One view, cropped and flipped: MAE's only augmentation (He et al., 2022, table 1e)."""
    return Views([Augmentation(size, scale=(smallest, 1), flip=0.5)])
