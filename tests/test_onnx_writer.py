"""Operations as ONNX has them, run by onnxruntime, against PyTorch's."""

import onnxruntime
import pytest
import torch
import torch.nn.functional as F

from sslbook.in_page import as_functions
from sslbook.onnx_writer import write

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x[1:, 2:5],
        lambda x: (x @ x.T).diagonal(),
        lambda x: x.var(dim=0),
        lambda x: F.mse_loss(x, torch.ones_like(x)),
        lambda x: F.log_softmax(x, dim=1),
        lambda x: F.cross_entropy(x, torch.tensor([0, 5, 2, 2])),
        lambda x: F.pad(x[None, None], (1, 2, 0, 3)),
        lambda x: torch.stack(x.unbind(), dim=1).clamp(min=0.1).sqrt(),
    ],
    ids=["slice", "diagonal", "variance", "squared error", "log-softmax", "cross-entropy", "pad", "stack"],
)
def test_values_and_gradients_are_pytorch_s(function):
    def both(x):
        x = x.detach().requires_grad_()
        y = function(x)
        return [y, torch.autograd.grad(y.square().sum(), x)[0]]

    model = write(as_functions(both, [X]), [X], ["x"], ["y", "gradient"])
    found = onnxruntime.InferenceSession(model).run(None, {"x": X.numpy()})
    for ours, theirs in zip(found, both(X)):
        torch.testing.assert_close(torch.from_numpy(ours), theirs.detach(), rtol=1e-5, atol=1e-6)


def test_an_operation_without_a_form_is_named():
    with pytest.raises(NotImplementedError, match=r"cumsum.*onnx_writer"):
        write(as_functions(lambda x: x.cumsum(0), [X]), [X], ["x"], ["y"])
