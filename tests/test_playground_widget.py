"""The playground: a training in the page, by onnxruntime-web, against PyTorch's; pictures and measures likewise."""

import base64
import json

import pytest
import torch
from conftest import LEFT, ROOT, UNLABELLED
from torch import nn

from sslbook import evaluate, in_page, playground, shapes
from sslbook.methods import METHODS
from sslbook.optim import warmup_cosine
from sslbook.pretrain import OPTIMIZERS
from sslbook.widgets import Playground
from sslbook.widgets._source import source
from sslbook.widgets.playground import WORKER
from tools import graphs

PAINTED = """() => {
  const canvas = document.querySelector(".sslw-ball");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return new Set(new Uint32Array(data.buffer)).size > 1000;
}"""
COUNT_FRAMES = """() => {
  const own = requestAnimationFrame;
  window.asked = 0;
  window.requestAnimationFrame = (f) => own(f, (window.asked += 1));
}"""
TYPES = {".mjs": "text/javascript", ".wasm": "application/wasm"}
MODULE = 'const load = (text) => import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));'
VIEWS = (2, 16, 3, 16, 16)
LR = 3e-3
ASK = dict(text="Look.", ask="What?", answers=["this", "that"], right=1, then="So.")
TOUR = [dict(title="A", set={}, **ASK), dict(title="B", set={"crop": 1.0}, after={"part": "stop-gradient"}, **ASK)]


@pytest.fixture(scope="module")
def small():
    """A playground of one method, small enough for tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in dict(WIDTH=2, WATCHED=32, CHUNK=64).items():
            patch.setattr(playground, name, value)
        stored = graphs.packed(graphs.graphs(["SimSiam"]))
        patch.setattr(playground, "stored", lambda: stored)
        patch.setattr(playground, "playable", lambda: ["SimSiam"])
        return Playground("SimSiam", tour=TOUR)


@pytest.fixture
def trainer(mount, request):
    """call(function, arguments): what a function of the worker's module answers."""
    page = request.getfixturevalue("browser").new_page()
    page.set_content("<!doctype html>")

    def call(code, arguments):
        script = (
            "async ([text, code, given]) => {" + MODULE + "return (await (0, eval)(code))(await load(text), given)}"
        )
        return page.evaluate(script, [source(*WORKER), code, arguments])

    yield call
    page.close()


# -- the worker's own arithmetic


def test_the_page_paints_the_shapes_of_python(trainer):
    n = 40
    g = torch.Generator().manual_seed(0)
    labels, u = torch.arange(n) % 8, torch.rand(shapes.UNIFORMS, n, generator=g)
    noise = torch.randn(n, 3, 32, 32, generator=g)
    expected, _ = shapes.painted(labels, u, noise)
    given = [labels.tolist(), u.T.tolist(), noise.flatten(1).tolist()]
    code = "({ painted }, [labels, u, noise]) => labels.map((label, i) => [...painted(label, u[i], noise[i])])"
    found = torch.tensor(trainer(code, given)).view(n, 3, 32, 32)
    off = (found - expected.int()).abs()
    assert off.max() <= 1 and (off > 0).float().mean() < 1e-3


def test_votes_and_spread_are_those_of_python(trainer):
    g = torch.Generator().manual_seed(0)
    train, test = torch.randn(96, 10, generator=g), torch.randn(40, 10, generator=g)
    labels, truth = torch.randint(8, (96,), generator=g), torch.randint(8, (40,), generator=g)
    train += 2 * nn.functional.one_hot(labels, 10)
    test += 2 * nn.functional.one_hot(truth, 10)
    k = evaluate.neighbours(labels)
    given = [train.flatten().tolist(), labels.tolist(), test.flatten().tolist(), truth.tolist()]
    code = """({ knn, neighbours, spread, unitRows }, [x, labels, y, truth]) => {
      const k = neighbours(labels);
      return [k, knn(x, labels, y, truth, 10, k), spread(unitRows(y, 10), 10)];
    }"""
    found = trainer(code, given)
    assert found[0] == k
    assert found[1] == pytest.approx(evaluate.knn(train, labels, test, truth, k=k), abs=1e-6)
    assert found[2] == pytest.approx(evaluate.spread(test), rel=1e-5)


def test_the_three_directions_are_the_largest(trainer):
    z = nn.functional.normalize(
        torch.randn(30, 6, generator=torch.Generator().manual_seed(1)) * torch.tensor([5, 4, 3, 1, 1, 1])
    )
    code = """({ turnAxes }, z) => {
      const axes = [0, 1, 2].map((a) => Float64Array.from({ length: 6 }, (_, j) => Math.sin(1 + a + 3 * j)));
      return turnAxes(axes, z, 6, 300).map((axis) => [...axis]);
    }"""
    found = torch.tensor(trainer(code, z.flatten().tolist()))
    _, _, expected = torch.linalg.svd(z)
    torch.testing.assert_close((found @ expected[:3].T).abs(), torch.eye(3), atol=1e-3, rtol=0)


def test_a_state_begins_as_its_parts_say_and_goes_on_by_their_names(trainer):
    parts = [["a", 400, "uniform", 0.5], ["b", 3, "fill", 2], ["c", 400, "as", "a"]]
    code = """({ startOf, carried }, parts) => {
      const state = startOf(parts, 7);
      const fewer = [parts[1], ["d", 2, "fill", 9], ["a", 400, "uniform", 0.5]];
      return [[...state], [...carried(state.map((x) => x + 1), parts, fewer, 7)], [...startOf(parts, 8)]];
    }"""
    state, moved, other = map(torch.tensor, trainer(code, parts))
    assert state[:400].abs().max() <= 0.5 and state[:400].std() == pytest.approx(0.5 / 3**0.5, rel=0.1)
    assert torch.equal(state[403:], state[:400]) and state[400:403].tolist() == [2, 2, 2]
    assert moved[:5].tolist() == [3, 3, 3, 9, 9] and torch.allclose(moved[5:], state[:400] + 1)
    assert not torch.equal(other[:400], state[:400])


def test_an_epoch_shows_every_picture_once(trainer):
    code = "({ batchAt }, n) => Array.from({ length: 64 }, (_, step) => batchAt(step, 64, 3))"
    batches = trainer(code, None)
    assert sorted(i for batch in batches[:32] for i in batch) == list(range(2048)) and batches[0] != batches[32]


# -- the graphs, in WebAssembly


@pytest.mark.parametrize("name", [name for name in playground.PLAYS if name in METHODS])
def test_ten_steps_in_the_page_are_pytorch_s(visit, small, name):
    method = METHODS[name].make_tiny()
    graph = in_page.training_step(method, VIEWS, optimizer="sgd")
    state = in_page.start(graph.parts, seed=3)
    views = [torch.rand(VIEWS, generator=torch.Generator().manual_seed(k)) for k in range(10)]
    rates = [LR * warmup_cosine(k, 10, 2) for k in range(10)]
    page = visit(small)
    found = page.evaluate(
        """async ({ model, state, views, rates, shape, lr }) => {
          const address = document.documentElement.dataset.ort;
          const ort = await import(new URL("ort.wasm.bundle.min.mjs", address).href);
          ort.env.wasm.numThreads = 1;
          const floats = (s) => new Float32Array(Uint8Array.from(atob(s), (c) => c.charCodeAt(0)).buffer);
          const bytes = Uint8Array.from(atob(model), (c) => c.charCodeAt(0));
          const session = await ort.InferenceSession.create(bytes);
          let now = new ort.Tensor("float32", floats(state), [floats(state).length]);
          const losses = [];
          for (const [k, rate] of rates.entries()) {
            const found = await session.run({
              state: now, views: new ort.Tensor("float32", floats(views[k]), shape),
              lr: new ort.Tensor("float32", [lr], []), rate: new ort.Tensor("float32", [rate], []),
            });
            now = new ort.Tensor("float32", found["next state"].data, now.dims);
            losses.push(found.loss.data[0]);
          }
          await session.release();
          return { state: [...now.data], losses };
        }""",
        dict(
            model=base64.b64encode(graph.model).decode(),
            state=base64.b64encode(state.numpy().tobytes()).decode(),
            views=[base64.b64encode(x.numpy().tobytes()).decode() for x in views],
            rates=rates,
            shape=list(VIEWS),
            lr=LR,
        ),
    )
    tensors = in_page.unpacked(state, graph.parts)
    method.load_state_dict({key: tensors.get(key, x) for key, x in method.state_dict().items()})
    optimizer = OPTIMIZERS["sgd"](method.train().parameter_groups(1e-3), LR, None)
    losses = []
    for x, rate in zip(views, rates):
        for group in optimizer.param_groups:
            group["lr"] = (LR if group.get("constant_lr") else rate) * group.get("lr_scale", 1)
        loss = method.loss(list(x))
        loss = loss["loss"] if isinstance(loss, dict) else loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.after_step(0.0)
        losses.append(loss.item())
    assert found["losses"] == pytest.approx(losses, rel=1e-4, abs=1e-5)
    mine = in_page.unpacked(torch.tensor(found["state"]), graph.parts)
    for key, x in method.named_parameters():
        torch.testing.assert_close(mine[key], x.detach(), rtol=1e-4, atol=1e-4, msg=key)


# -- the widget


def steps(page):
    return int(page.locator(".sslw-readouts b").nth(2).inner_text())


def steps_at_rest(page):
    """The steps taken, once a second has brought no other."""
    before = None
    while (now := steps(page)) != before:
        before = now
        page.wait_for_timeout(1000)
    return now


def wait_for_steps(page, n):
    page.wait_for_function("(n) => +document.querySelectorAll('.sslw-readouts b')[2].textContent >= n", arg=n)


def test_it_trains_pauses_steps_and_begins_again(visit, small):
    page = visit(small)
    assert not any("/ort/" in want for want in page.wants), "nothing is loaded before Train"
    page.get_by_role("button", name="Train").click()
    wait_for_steps(page, 3)
    page.wait_for_function("document.querySelector('.sslw-readouts b')?.textContent.includes('%')")
    page.get_by_role("button", name="Pause").click()
    now = steps_at_rest(page)
    page.get_by_role("button", name="One step").click()
    wait_for_steps(page, now + 1)
    assert steps_at_rest(page) == now + 1
    page.get_by_role("button", name="Start again").click()
    page.wait_for_function("document.querySelectorAll('.sslw-readouts b')[2].textContent === '0'")
    page.get_by_role("button", name="Remove: stop-gradient").click()
    page.get_by_role("button", name="One step").click()
    wait_for_steps(page, 1)
    assert page.get_by_role("button", name="Put back: stop-gradient").get_attribute("aria-pressed") == "true"


def test_a_part_is_removed_while_it_trains(visit, small):
    page = visit(small)
    page.get_by_role("button", name="Train").click()
    wait_for_steps(page, 2)
    page.get_by_role("button", name="Remove: predictor").click()
    now = steps(page)
    wait_for_steps(page, now + 2)
    assert steps(page) >= now + 2, "it goes on where it was"


def test_settings_stand_in_the_address(visit, small):
    page = visit(
        small, book="data-content_root='./'", hash="#playground.without=predictor&playground.crop=0.6&playground.seed=5"
    )
    page.get_by_role("button", name="Put back: predictor").wait_for()
    assert page.get_by_label("Smallest crop").get_attribute("aria-valuetext") == "60 %"


def test_a_tour_asks_first_and_sets_the_figure(visit, small):
    page = visit(small)
    page.get_by_role("button", name="Take the tour").click()
    page.get_by_role("button", name="this", exact=True).click()
    page.get_by_text("So.").wait_for()
    page.get_by_role("button", name="Pause").wait_for()
    page.get_by_role("button", name="Next").click()
    page.get_by_role("button", name="that", exact=True).click()
    page.get_by_role("button", name="Put back: stop-gradient").wait_for()
    page.get_by_role("button", name="End the tour").click()
    wait_for_steps(page, 1)


def test_elsewhere_it_trains_with_a_public_host_s_runtime(visit, small):
    page = visit(small)
    page.evaluate("document.documentElement.removeAttribute('data-ort')")  # as in Jupyter and Colab
    version = json.loads((ROOT / "package.json").read_text())["dependencies"]["onnxruntime-web"]
    folder = f"https://cdn.jsdelivr.net/npm/onnxruntime-web@{version}/dist/"
    dist = ROOT / "node_modules/onnxruntime-web/dist"
    open_to_all = {"access-control-allow-origin": "*"}

    def answer(route):
        path = dist / route.request.url.removeprefix(folder)
        route.fulfill(path=path, headers=open_to_all | {"content-type": TYPES[path.suffix]})

    page.route(f"{folder}*", answer)
    page.get_by_role("button", name="Train").click()
    wait_for_steps(page, 2)
    assert all("jsdelivr" in trouble for trouble in page.troubles), page.troubles
    page.troubles.clear()


def test_pictures_are_there_before_anything_is_loaded(visit, small):
    page = visit(small)
    page.wait_for_function(PAINTED)
    assert not any("/ort/" in want for want in page.wants)
    assert "this site alone" in page.locator(".sslw-playground [role=status]").first.inner_text()


def test_without_webassembly_it_says_so(visit, small):
    page = visit(small, script="delete window.WebAssembly")
    assert "needs WebAssembly" in page.locator(".sslw-playground [role=status]").first.inner_text()
    assert page.get_by_role("button", name="Train").is_disabled()


def test_less_motion_moves_the_pictures_at_once(visit, small):
    page = visit(small, reduced_motion="reduce")
    page.evaluate(COUNT_FRAMES)
    page.get_by_role("button", name="One step").click()
    wait_for_steps(page, 1)
    page.wait_for_timeout(1000)
    assert page.evaluate("window.asked") < 30  # a drawing for each message, and no way between two places


def test_a_lost_line_is_said_and_can_be_tried_again(visit, small):
    refuse = ["simd-threaded.wasm"]
    page = visit(small, refuse=refuse)
    page.get_by_role("button", name="Train").click()
    page.wait_for_function(
        "document.querySelector('.sslw-playground [role=status]')?.textContent.includes('tries again')"
    )
    refuse.clear()
    page.troubles.clear()
    page.get_by_role("button", name="Train").click()
    wait_for_steps(page, 1)


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_is_labelled_and_leaves(mount, small, width, theme):
    page = mount(small, theme=theme, viewport={"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(UNLABELLED) == 0
    assert page.evaluate(LEFT) == [0]


@pytest.mark.parametrize("wrong", ["NoSuch", "MAE"])
def test_what_cannot_be_played_is_refused(wrong):
    with pytest.raises(ValueError, match="the playground has SimCLR"):
        Playground(wrong)
