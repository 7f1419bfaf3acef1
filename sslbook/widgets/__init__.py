"""Views that the reader can touch: one ESM module and one small Python class each.

They draw, they do not compute learning. All that moves runs in the browser, a small network too, so a page without a
kernel is as alive as a notebook, in Jupyter and in Colab (ipywidgets >= 7.7.1, anywidget >= 0.9.21); nothing is asked
of any host.
"""

from sslbook.widgets.augmentation import AugmentationExplorer
from sslbook.widgets.centring import CentringPad
from sslbook.widgets.choosing import ChoosingGuide
from sslbook.widgets.clusters import ClusterWall
from sslbook.widgets.codebook import CodebookWall
from sslbook.widgets.correlation import CorrelationMatrix
from sslbook.widgets.dials import ThreeDials
from sslbook.widgets.gan_game import GanGame
from sslbook.widgets.generator_walk import GeneratorWalk
from sslbook.widgets.latent_sliders import LatentSliders
from sslbook.widgets.latents import LatentExplorer
from sslbook.widgets.linear_byol import LinearBYOL
from sslbook.widgets.masked_words import MaskedWords
from sslbook.widgets.masking import MAEExplorer
from sslbook.widgets.partner import PartnerGame
from sslbook.widgets.playground import Playground
from sslbook.widgets.similarity import SimilarityMatrix
from sslbook.widgets.sinkhorn import SinkhornBalance
from sslbook.widgets.slices import GaussianSlices
from sslbook.widgets.sphere import EmbeddingSphere

__all__ = [
    "AugmentationExplorer",
    "CentringPad",
    "ChoosingGuide",
    "ClusterWall",
    "CodebookWall",
    "CorrelationMatrix",
    "EmbeddingSphere",
    "GanGame",
    "GaussianSlices",
    "GeneratorWalk",
    "LatentExplorer",
    "LatentSliders",
    "LinearBYOL",
    "MAEExplorer",
    "MaskedWords",
    "PartnerGame",
    "Playground",
    "SimilarityMatrix",
    "SinkhornBalance",
    "ThreeDials",
]
