"""Every method of the book in a size that trains in a second, for tests that must hold for all of them."""

import torch

from sslbook import methods
from sslbook.encoders import ConvNet
from sslbook.methods import BYOL, MAE, MoCo, SimCLR, SimSiam
from sslbook.vit import ViT

METHODS = {
    "SimCLR": lambda: SimCLR(ConvNet(width=2), dim=8),
    "MoCo": lambda: MoCo(ConvNet(width=2), dim=8, K=128, symmetric=True),
    "BYOL": lambda: BYOL(ConvNet(width=2), dim=8, hidden=16),
    "SimSiam": lambda: SimSiam(ConvNet(width=2), dim=8, layers=2),
    "MAE": lambda: MAE(ViT(32, 8, dim=16, depth=1, heads=2), 0.75, False, 16, 1, 2),
}
assert METHODS.keys() == set(methods.__all__) - {"Method"}, "a new method belongs here"


def make(name: str, seed: int = 0) -> methods.Method:
    torch.manual_seed(seed)
    return METHODS[name]()
