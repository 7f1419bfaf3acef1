"""One file for each paper."""

from sslbook.methods.base import Method
from sslbook.methods.byol import BYOL
from sslbook.methods.mae import MAE
from sslbook.methods.moco import MoCo
from sslbook.methods.simclr import SimCLR
from sslbook.methods.simsiam import SimSiam

__all__ = ["BYOL", "MAE", "Method", "MoCo", "SimCLR", "SimSiam"]
