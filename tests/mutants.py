"""Does a test notice when the package is wrong? Each mutant is one mistake; its tests must fail.

    python tests/mutants.py [WORD ...]

Every mutant is written into a copy of the package in a temporary folder, and its tests are run there until one fails.
With words only the mutants are tried whose file or mistake has one of them. `make mutants` tries all, in some minutes.
Exit status: 1 if a mutant survives, 2 if a mutant is stale (its text no longer stands in the file exactly once) or its
tests fail without it.
"""

import contextlib
import multiprocessing
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("sslbook", "tests", "tools", "results", "pyproject.toml")
JOBS = min(2, os.cpu_count() or 1)
PATIENCE = 1800  # seconds for the tests of one mutant


@dataclass(frozen=True)
class Mutant:
    """A mistake: in a file of the package, `old` becomes `new`."""

    file: str
    mistake: str
    old: str
    new: str
    tests: str  # arguments of pytest, in the folder tests; what must fail

    def source(self, folder: Path) -> str:
        """The folder's file with the mistake in it; raises LookupError if the mutant is stale."""
        text = (folder / "sslbook" / self.file).read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise LookupError(
                f"stale: its text stands {text.count(self.old)} times in sslbook/{self.file}: {self.old!r}"
            )
        mutated = text.replace(self.old, self.new)
        if self.file.endswith(".py"):
            compile(mutated, self.file, "exec")
        return mutated


# (file of the package, tests that must fail): {the mistake: (the text in the file, what it becomes)}
MISTAKES = {
    ("losses.py", "test_losses.py"): {
        "a row is its own negative": (
            "similarity.fill_diagonal_(-torch.inf)",
            "similarity.fill_diagonal_(1 / temperature)",
        ),
        "the partner is the next row": (".roll(len(z) // 2)", ".roll(1)"),
        "multiplied by the temperature": ("z @ z.T / temperature", "z @ z.T * temperature"),
        "features are not normalised": ("z = F.normalize(features, dim=1)", "z = features"),
        "autocast stays on in losses": (
            "torch.autocast(device, enabled=False)",
            "torch.autocast(device, enabled=torch.is_autocast_enabled(device))",
        ),
        "inputs stay in half precision": ("return x.float() if half else x", "return x"),
    },
    ("losses.py", "test_simsiam.py"): {
        "wrong sign of the cosine": (
            "return -F.cosine_similarity(p, z, dim=1)",
            "return F.cosine_similarity(p, z, dim=1)",
        ),
    },
    ("losses.py", "test_byol.py"): {
        "BYOL's loss has the wrong sign": ("2 + 2 * negative_cosine", "2 - 2 * negative_cosine"),
    },
    ("losses.py", "test_mae.py"): {
        "visible patches count too": (".mean(dim=2) * mask).sum() / mask.sum()", ".mean(dim=2)).mean()"),
    },
    ("losses.py", "test_gpu_without_gpu.py"): {
        "an index on the CPU, features on the GPU": ("torch.arange(len(z), device=z.device)", "torch.arange(len(z))"),
    },
    ("ema.py", "test_ema.py"): {
        "tau and 1 - tau exchanged": ("get_ema_multi_avg_fn(tau)", "get_ema_multi_avg_fn(1 - tau)"),
        "buffers are copied": ("if copy_buffers:", "if True:"),
        "buffers are averaged": (
            "    if copy_buffers:",
            """    for ours, theirs in zip(target.buffers(), online.buffers(), strict=True):
        if ours.is_floating_point():
            ours.lerp_(theirs, 1 - tau)
    if copy_buffers:""",
        ),
        "tau does not rise to 1": ("min(progress, 1.0)) + 1) / 2", "min(progress, 1.0) / 2) + 1) / 2"),
        "the follower is trained": ("copy.deepcopy(online).requires_grad_(False)", "copy.deepcopy(online)"),
        "the follower is no copy": ("copy.deepcopy(online).requires_grad_(False)", "online"),
    },
    ("optim.py", "test_optim.py"): {
        "LARS: weights and updates exchanged": ('group["trust"] * weights / sizes', 'group["trust"] * sizes / weights'),
        "LARS: no weight decay": ('params, alpha=group["weight_decay"]', "params, alpha=0.0"),
        "LARS adapts biases and norms too": ('if group["adapt"]:', "if True:"),
        "LARS forgets its momentum": (
            'torch._foreach_mul_(buffers, group["momentum"])',
            "torch._foreach_mul_(buffers, 0.0)",
        ),
        "biases and norms decay": (
            '"weight_decay": 0.0, "adapt": False',
            '"weight_decay": weight_decay, "adapt": False',
        ),
        "the first step of the warm-up has rate 0": ("return (step + 1) / warmup", "return step / warmup"),
        "the rate rises where it should fall": ("0.5 * (1 + math.cos(", "0.5 * (1 - math.cos("),
        "the schedule forgets that the warm-up took steps": (
            "math.pi * (step - warmup) / max(1, total - warmup)",
            "math.pi * step / total",
        ),
    },
    ("optim.py", "test_pretrain.py -k first_gradient_later"): {
        "momentum buffers come with the first gradient": ('if group["momentum"]:', "if False:"),
    },
    ("views.py", "test_views.py"): {
        "large crops may be small": ("replace(view, scale=(scale[1], 1))", "replace(view, scale=(scale[0], 1))"),
        "the flip follows the jitter's number": ("flip=u[:, 2] < self.flip", "flip=u[:, 3] < self.flip"),
        "grey follows the blur's number": ("grey=u[:, 12] < self.grey", "grey=u[:, 13] < self.grey"),
        "the order of the colour changes follows their strength": (
            "order=u[:, 8:12].argsort(dim=1)",
            "order=u[:, 4:8].argsort(dim=1)",
        ),
        "a crop's place in one axis follows that in the other": (
            "corner=u[:, :2]",
            "corner=u[:, [0, 0]]",
        ),
        "a crop never touches the bottom": (
            "torch.floor(u_top * (height - h + 1))",
            "torch.floor(u_top * (height - h))",
        ),
        "both views of an image are the same": (
            "draws[places].flatten(0, 1)",
            "draws[places[:1] * len(places)].flatten(0, 1)",
        ),
        "views come back in the order of rendering": (
            "[rendered[i] for i in range(len(self))]",
            "list(rendered.values())",
        ),
        "no antialiasing": ("step.clamp(min=1)[:, :, None]", "torch.ones_like(step)[:, :, None]"),
        "the hue turns the other way": (".copysign_(g - b)", ".copysign_(b - g)"),
        "a blur that darkens": ("g = g / g.sum(dim=1, keepdim=True)", "g = g / kernel_size"),
        "dark pixels are inverted": ("(x >= 0.5), 1 - x, x)", "(x < 0.5), 1 - x, x)"),
        "every image is jittered": ("factors=torch.where(jittered, factors, neutral)", "factors=factors"),
    },
    ("views.py", "test_gpu_without_gpu.py -k family"): {
        "the box stays on the CPU": (
            "x = resized_crop(x, p.box, p.flip, self.size)",
            "x = resized_crop(x, parameters.box, p.flip, self.size)",
        ),
    },
    ("methods/gan.py", "test_gan.py"): {
        "the generator wants to be found out": ("else F.softplus(-fake).mean()", "else F.softplus(fake).mean()"),
        "hinge without its margin": ("F.relu(1 + fake).mean()", "F.relu(fake).mean()"),
        "the penalty is not squared": ("return gradient.square().sum", "return gradient.abs().sum"),
        "the penalty has no gradient": (
            "squared_gradient(real, images).mean()",
            "squared_gradient(real, images).mean().detach()",
        ),
        "the penalty is not halved": ("self.penalty / 2 * squared", "self.penalty * squared"),
        "the penalty in half precision": ("torch.autocast(images.device.type, enabled=False)", "torch.enable_grad()"),
        "the generator's turn moves the discriminator": ("with frozen(self.discriminator):", "if True:"),
        "both players have one rate": ("(GENERATOR, self.rate_g)", "(GENERATOR, 1.0)"),
        "a sample's pictures depend on each other": ("        self.generator.eval()\n", ""),
    },
    ("norms.py", "test_gan.py"): {
        "the factor is left out": ("return x * weight + bias", "return x + bias"),
        "without batch norm no bias learns": (
            "def forward(self, x: Tensor) -> Tensor:\n        weight, bias = (p.to",
            "def forward(self, x: Tensor) -> Tensor:\n        weight, bias = (p.detach().to",
        ),
        "a saved factor is another's": ("self.running_var.fill_(1 - self.eps)", "self.running_var.fill_(0.5)"),
        "looking moves u and v": (
            "        if self.training:\n            self.iterate(rows)",
            "        self.iterate(rows)",
        ),
        "u stands still": ("self.u.copy_(F.normalize(rows @ self.v, dim=0))", "pass"),
        "sigma is a constant to the gradient": ("weight / (u @ rows @ v)", "weight / (u @ rows @ v).detach()"),
    },
    ("pretrained.py", "test_gan.py -k saved"): {
        "saved before the norm": (
            'state[f"{prefix}{name}"] = getattr(layer, name)',
            'state[f"{prefix}{name}"] = layer.parametrizations[name].original',
        ),
        "saving leaves it in eval mode": ("    network.train(training)\n", ""),
    },
    ("samples.py", "test_samples.py"): {
        "the means are left out": ("return (apart + c_x", "return (c_x"),
        "the deviations overlap but once": ("- 2 * overlap", "- overlap"),
        "a product that is not symmetric": ("root @ c_y @ root)", "c_x @ c_y)"),
        "shares are counts": ("minlength=len(self.names)) / len(guesses)", "minlength=len(self.names)) / 1"),
    },
    ("optim.py", "test_gan.py -k frozen"): {
        "what was frozen is set free": (
            "[p for p in module.parameters() if p.requires_grad]\n    for p in trained",
            "list(module.parameters())\n    for p in trained",
        ),
    },
    ("norms.py", "test_moco.py"): {
        "the parts share one statistic": (
            "x.tensor_split(max(1, min(self.splits // world_size(), len(x) // 2)))",
            "x.tensor_split(1)",
        ),
        "the running mean is the last part's": (
            "self.running_mean.copy_(means.mean(dim=0))",
            "self.running_mean.copy_(means[-1])",
        ),
    },
    ("norms.py", "test_distributed.py -k one_batch"): {
        "a process normalises by its own mean": ("mean = all_reduce_mean(x.mean(axes) * share)", "mean = x.mean(axes)"),
        "the running variance is the biased one": ("variance * n / (n - 1)", "variance"),
    },
    ("distributed.py", "test_distributed.py -k one_batch"): {
        "every process takes the first shard": ("x.chunk(parts, dim)[rank()]", "x.chunk(parts, dim)[0]"),
        "a gathered row's gradient is that of one process": (
            "return shard(all_reduce_sum(gradient))",
            "return shard(gradient)",
        ),
        "each process draws for its own rows": (
            "shard(torch.rand(shape[0] * world_size(), *shape[1:]))",
            "torch.rand(*shape)",
        ),
        "each process keeps its own buffers": ("buffer.copy_(all_reduce_mean(buffer))", "pass"),
    },
    ("methods/simclr.py", "test_distributed.py -k one_batch"): {
        "negatives come from the process's own rows": (
            "all_gather(part) for part in z.chunk(2)",
            "part for part in z.chunk(2)",
        ),
    },
    ("methods/simclr.py", "test_simclr.py"): {
        "each view has batch norm of its own": (
            "self.project(torch.cat(self.take(views)))",
            "torch.cat([self.project(view) for view in self.take(views)])",
        ),
        "a projector without its last norm": ("norm_output=True", "norm_output=False"),
    },
    ("methods/moco.py", "test_moco.py"): {
        "no negatives": ("torch.cat([positive, negatives], dim=1)", "torch.cat([positive, 0 * negatives], dim=1)"),
        "the first negative is the answer": ("own_key = torch.zeros(", "own_key = torch.ones("),
        "the queue is filled one place further": (
            "(self.queue_ptr + torch.arange(",
            "(self.queue_ptr + 1 + torch.arange(",
        ),
        "the pointer stands one short": (
            "self.queue_ptr.copy_((self.queue_ptr + len(k)) % self.K)",
            "self.queue_ptr.copy_((self.queue_ptr + len(k) - 1) % self.K)",
        ),
        "the queue is written before the loss": (
            "            losses.append(F.cross_entropy(self.logits(q, k), own_key))",
            "            self.enqueue(k)\n            losses.append(F.cross_entropy(self.logits(q, k), own_key))",
        ),
        "f_k follows with the wrong momentum": (
            "update_ema(self.f_k, self.f_q, self.m)",
            "update_ema(self.f_k, self.f_q, 1 - self.m)",
        ),
        "shuffled keys are not put back in order": ("torch.empty_like(k).index_copy_(0, order, k)", "k"),
        "both halves of the symmetric loss are the same": (
            "[(x1, x2), (x2, x1)] if self.symmetric",
            "[(x1, x2), (x1, x2)] if self.symmetric",
        ),
        "multiplied by the temperature": ("dim=1) / self.T", "dim=1) * self.T"),
    },
    ("methods/moco.py", "test_losses.py"): {
        "logits in half precision": ("    @full_precision\n    def logits", "    def logits"),
    },
    ("methods/moco.py", "test_gpu_without_gpu.py -k MoCo"): {
        "the order of the keys stays on the CPU": ("order = order.to(images.device, non_blocking=True)", "pass"),
        "the CPU waits for the order's copy": ("order.to(images.device, non_blocking=True)", "order.to(images.device)"),
        "the answers lie on the CPU": ("dtype=torch.long, device=q.device", "dtype=torch.long"),
    },
    ("methods/byol.py", "test_byol.py"): {
        "the target takes a gradient": ("    @torch.no_grad()\n    def project_target", "    def project_target"),
        "a view predicts itself": (
            "there = byol_loss(self.predict(x), self.project_target(x_))",
            "there = byol_loss(self.predict(x), self.project_target(x))",
        ),
        "one direction only": ("return there + back", "return 2 * there"),
        "tau does not follow its schedule": (
            "cosine_tau(progress, self.tau) if self.schedule else self.tau",
            "self.tau",
        ),
        "the target stands still": ("update_ema(self.target, self.online, tau)", "pass"),
        "the predictor's rate is everyone's": ("lr_scale=self.predictor_lr", "lr_scale=1.0"),
    },
    ("methods/simsiam.py", "test_simsiam.py"): {
        "no stop-gradient": ("        if self.stop_gradient:", "        if False:"),
        "a view predicts itself": (
            "(negative_cosine(p1, z2) + negative_cosine(p2, z1)) / 2",
            "(negative_cosine(p1, z1) + negative_cosine(p2, z2)) / 2",
        ),
        "the predictor's rate falls too": ('"constant_lr": True', '"constant_lr": False'),
    },
    ("losses.py", "test_swav.py -k official"): {
        "codes: the images first": (
            "log_Q = log_Q - of_each_process.logsumexp(dim=0)\n        log_Q = log_Q.log_softmax(dim=1)",
            "log_Q = log_Q.log_softmax(dim=1)\n        log_Q = log_Q - of_each_process.logsumexp(dim=0)",
        ),
        "codes: epsilon multiplies": ("log_Q = scores / epsilon", "log_Q = scores * epsilon"),
        "a view predicts its own code": (
            "cross_entropy.masked_fill(itself, 0)",
            "cross_entropy.masked_fill(~itself, 0)",
        ),
    },
    ("methods/swav.py", "test_swav.py"): {
        "the queue is used at once": ("self.now.progress >= self.queue_from", "True"),
        "the oldest stay in the queue": (
            "torch.cat([z, self.queue[view]])[:length]",
            "torch.cat([self.queue[view], z])[:length]",
        ),
        "prototypes are never frozen": ("if self.now.progress < self.frozen:", "if False:"),
        "prototypes grow": ("self.prototypes.copy_(F.normalize(self.prototypes, dim=1))", "pass"),
    },
    ("losses.py", "test_distributed.py -k one_batch"): {
        "each process balances by itself": (
            "of_each_process = all_gather(log_Q.logsumexp(dim=0, keepdim=True))",
            "of_each_process = log_Q.logsumexp(dim=0, keepdim=True)",
        ),
    },
    ("methods/bert.py", "test_bert.py -k 'loss or costs or word_vectors'"): {
        "all places count": ('ignore_index=IGNORED, reduction="sum"', 'ignore_index=-1000, reduction="sum"'),
        "the sum, no mean": ("total / count", "total"),
        "predictions have a table of their own": (
            "self.encoder.embed.weight.T",
            "self.encoder.embed.weight.detach().roll(1, 0).T",
        ),
    },
    ("methods/bert.py", "test_distributed.py -k one_batch"): {
        "each process divides by its own number of words": (
            "all_reduce_mean(asked.sum().to(logits.dtype))",
            "asked.sum().to(logits.dtype)",
        ),
    },
    ("words.py", "test_bert.py -k 'shares or special or number'"): {
        "the rest is replaced": ("(u < self.mask + self.other)", "(u < 1)"),
        "shares are of all words": ("u = u / self.share", "u = u"),
        "special words are asked for": ("& (tokens >= len(SPECIAL))", ""),
        "a special word is put in": ("others = len(SPECIAL) + (which", "others = (which"),
    },
    ("words.py", "test_sentences.py -k file"): {
        "a binary file is text": ('if b"\\0" in data:', "if False:"),
        "an empty file is text": ("if not data.strip():", "if False:"),
        "the test part decides the vocabulary": ("words[: (pieces - kept) * length]", "words"),
    },
    ("sentences.py", "test_sentences.py"): {
        "the relation does not turn": (
            'torch.where(turned, opposite, factors["relation"])',
            'factors["relation"]',
        ),
        "a word that is asked for is judged as if it were not": (
            "found = without * likely_if_asked",
            "found = without * likely",
        ),
        "where all is hidden nothing that is seen is possible": ("if share == 0 or mask == 1:", "if share == 0:"),
    },
    ("text.py", "test_bert.py -k 'order or place'"): {
        "positions are left out": ("return self.embed(words) + self.pos_embed", "return self.embed(words)"),
    },
    ("widgets/transformer.js", "test_masked_words_widget.py -k pytorch"): {
        "attention is not scaled": ("sum / Math.sqrt(each)", "sum"),
        "no second block": ("for (let b = 0; b < blocks; b++)", "for (let b = 0; b < 1; b++)"),
    },
    ("widgets/transformer.js", "test_codebook_widget.py -k pytorch"): {
        "colours as they are": ("- mean[c]) / std[c]", "- mean[c])"),
        "patches in columns": (
            "patch * Math.floor(place / grid), patch * (place % grid)]",
            "patch * (place % grid), patch * Math.floor(place / grid)]",
        ),
    },
    ("widgets/codebook.js", "test_codebook_widget.py -k pytorch"): {
        "what is hidden is shown": ("const shown = is ? w.mask_token : ", "const shown = false ? w.mask_token : "),
    },
    ("in_page.py", "test_in_page.py -k 'momentum or adam or embeddings'"): {
        "the momenta are forgotten": ("optimizer.state[p] = {", "_ = {"),
        "the hook after a step is not called": ("self.method.after_step(0.0)", "pass"),
        "what is frozen is judged as it trains": ("network.encoder.eval()(x)", "network.encoder.train()(x)"),
    },
    ("playground.py", "test_in_page.py -k package"): {
        "the graphs are those of another width": ("WIDTH = 8 ", "WIDTH = 6 "),
        "a part is not removed": (".get(part, {})", ".get(None, {})"),
    },
    ("widgets/trainer.js", "test_playground_widget.py -k 'state or votes or directions or epoch or paints'"): {
        "votes all count the same": ("Math.exp((cosines[i] - cosines[nearest[0]]) / NEIGHBOUR_TEMPERATURE)", "1"),
        "a state goes on by its place": ("places.get(`${name} ${length}`);", "0;"),
        "the second direction is the first": ("next[j] -= shared * before[j]", "next[j] -= 0 * before[j]"),
        "an order for all epochs, and half of it": ("(step % steps) * size", "(step % (steps / 2)) * size"),
    },
    ("widgets/shapes.js", "test_playground_widget.py -k paints"): {
        "the shape is not turned": ("cos * dx + sin * dy", "dx"),
    },
    ("methods/dino.py", "test_dino.py"): {
        "the centre is added": ("((g_t - self.c) / T)", "((g_t + self.c) / T)"),
        "the centre is the last batch's": ("self.c.mul_(self.m)", "self.c.mul_(0)"),
        "the student sees the large views only": (
            "forward_each_size(self.student, views)",
            "forward_each_size(self.student, views[:2])",
        ),
        "the temperature does not warm up": ("if epoch >= self.warm_epochs:", "if True:"),
        "the last layer never waits": ("if self.now.epoch < self.frozen:", "if False:"),
        "the teacher stands still": ("update_ema(self.teacher, self.student, tau)", "pass"),
        "weight decay stays": ("if self.weight_decay_end is not None:", "if False:"),
    },
    ("losses.py", "test_dino.py"): {
        "a crop teaches itself": ("cross_entropy.masked_fill(itself, 0).sum()", "cross_entropy.sum()"),
        "the student has no temperature": ("(student, P_t, T_s)", "(student, P_t, 1.0)"),
    },
    ("methods/barlow_twins.py", "test_barlow_twins.py"): {
        "a view is compared with itself": ("return z1.T @ z2 / len(z1)", "return z1.T @ z1 / len(z1)"),
        "a sum over the batch, no mean": ("return z1.T @ z2 / len(z1)", "return z1.T @ z2"),
        "views shall disagree": ("(1 - C.diagonal())", "(1 + C.diagonal())"),
        "the diagonal counts as redundancy": ("C.masked_fill(itself, 0).square()", "C.square()"),
        "lambda is not heard": ("loss = invariance + lambd * redundancy", "loss = invariance + redundancy"),
        "biases have everyone's rate": ("lr_scale=self.bias_lr", "lr_scale=1.0"),
    },
    ("methods/vicreg.py", "test_vicreg.py"): {
        "the variance in place of the deviation": ("(z.var(dim=0) + eps).sqrt()", "(z.var(dim=0) + eps)"),
        "no hinge": ("F.relu(gamma - deviation).mean()", "(gamma - deviation).mean()"),
        "the mean stays in the covariance": ("z = z - z.mean(dim=0)\n    C", "C"),
        "the diagonal counts as covariance": ("C.masked_fill(itself, 0).square()", "C.square()"),
        "the second view may vary as it likes": (
            "(variance_term(z1) + variance_term(z2)) / 2",
            "(variance_term(z1) + variance_term(z1)) / 2",
        ),
        "the covariance is the mean of both views": (
            "covariance = covariance_term(z1) + covariance_term(z2)",
            "covariance = (covariance_term(z1) + covariance_term(z2)) / 2",
        ),
        "weights exchanged": ("loss = lambd * invariance + mu * variance", "loss = mu * invariance + lambd * variance"),
    },
    ("methods/vicreg.py", "test_distributed.py -k one_batch"): {
        "the terms are those of the process's own rows": ("all_gather(self.project(view))", "self.project(view)"),
    },
    ("methods/beit.py", "test_beit.py"): {
        "the visible patches count": ("(wrong * mask).sum() / hidden", "wrong.sum() / hidden"),
        "a mean over all patches": ("(wrong * mask).sum() / hidden", "(wrong * mask).mean()"),
        "the right code is found anywhere": ("== codes) & mask", "== codes)"),
        "the mask token has no position": (
            "self.mask_token + self.encoder.pos_embed[:, 1:]",
            "self.mask_token + 0 * self.encoder.pos_embed[:, 1:]",
        ),
        "what is hidden is shown": ("torch.where(mask[:, :, None], nothing", "torch.where(~mask[:, :, None], nothing"),
        "the encoder sees the other hue": ("logits, mask = self(images)", "logits, mask = self(coloured)"),
        "masks are always scattered": ("if not self.blockwise:", "if True:"),
        "the tokeniser learns on": ("tokeniser.requires_grad_(False)", "tokeniser"),
    },
    ("methods/vae.py", "test_vae.py"): {
        "the KL has the wrong sign": ("loss = error + beta * paid.sum()", "loss = error - beta * paid.sum()"),
        "the KL lacks its half": (
            "(mu.square() + logvar.exp() - 1 - logvar) / 2",
            "(mu.square() + logvar.exp() - 1 - logvar)",
        ),
        "sigma is the variance": ("mu + (logvar / 2).exp() * eps", "mu + logvar.exp() * eps"),
        "sigma of the pixels is ignored": (".square() / (2 * sigma**2)", ".square()"),
        "a mean over pixels": (".flatten(1).sum(dim=1)", ".flatten(1).mean(dim=1)"),
        "free bits are for the sum": (
            "paid = all_reduce_mean(said).clamp(",
            "paid = all_reduce_mean(said).sum().clamp(",
        ),
        "one eps for all pictures": ("randn(mu.shape)", "randn(mu.shape)[:1]"),
        "the gradient stops at the code": ("return z if self.reparameterise else z.detach()", "return z.detach()"),
        "beta does not rise": ("beta *= self.now.progress / self.warmup", "beta *= 1"),
        "half precision stays": ("@full_precision\ndef kl_to_normal", "def kl_to_normal"),
        "another size is found out late": ("self._check_size(side, side)", "pass"),
    },
    ("evaluate.py", "test_evaluate.py -k 'latent or codes_that or active or information or gap'"): {
        "information is not divided by the factor's entropy": (
            "max(0.0, entropy_a + entropy_b - both) / entropy_b if entropy_b > 0",
            "max(0.0, entropy_a + entropy_b - both) if entropy_b > 0",
        ),
        "it is divided by the code's entropy": (
            "both) / entropy_b if entropy_b > 0",
            "both) / entropy_a if entropy_a > 0",
        ),
        "the gap is between factors": ("bins).topk(2, dim=0)", "bins).topk(2, dim=1)"),
        "the class is cut into parts": ("values if values.dtype == torch.int64 else", "values if False else"),
        "a latent of any size is active": ("mu).var(dim=0) > least", "mu).std(dim=0) > least"),
    },
    ("methods/vqvae.py", "test_beit.py"): {
        "the gradient stops at the code": ("self.paint(z + (e - z).detach())", "self.paint(e)"),
        "the codebook stands still": ("self.codebook.copy_(self.sums", "self.codebook.clone().copy_(self.sums"),
        "sums are the last batch's": (
            "self.sums.lerp_(members.T @ z, 1 - self.decay)",
            "self.sums.copy_(members.T @ z)",
        ),
        "codes that nobody uses stay": ("if self.revive and unused.any():", "if False:"),
        "codes in half precision": ("    @full_precision\n", ""),
        "the codebook follows in a test too": ("        if self.training:\n", "        if True:\n"),
    },
    ("masks.py", "test_masks.py"): {
        "a mask may hide too much": ("& (gained <= left_over)", ""),
        "blocks are squares": ("math.log(ratio) * (1 - 2 * ratio_u)", "0 * ratio_u"),
        "blocks lie to the upper left": ("(top_u * (grid - height + 1)).floor()", "(0 * top_u)"),
        "the scattered are too many": (".argsort(dim=1) < hidden", ".argsort(dim=1) <= hidden"),
    },
    ("tokenisers.py", "test_tokenisers.py"): {
        "up is down": (
            "light[:, :, 2:, 1:-1] - light[:, :, :-2, 1:-1]",
            "light[:, :, :-2, 1:-1] - light[:, :, 2:, 1:-1]",
        ),
        "directions end at the left": ("torch.minimum(away, DIRECTIONS - away)", "away"),
        "noise counts": ("noise * length.flatten(1)", "0 * length.flatten(1)"),
        "contrast counts": ("(found / (square + usual / 4 + 1e-8).sqrt())", "(10 * found)"),
        "codes in half precision": ("    @full_precision\n", ""),
        "weights don't say that there are codes": ("self._fitted = bool(self.codebook.any())", "pass"),
    },
    ("kmeans.py", "test_kmeans.py"): {
        "points go to the farthest centroid": (
            "(points @ centroids.T).argmax(dim=1)",
            "(points @ centroids.T).argmin(dim=1)",
        ),
        "an empty cluster stays empty": ("torch.where((counts == 0)[:, None], beside, centroids)", "centroids"),
        "centroids are not of length 1": ("F.normalize(all_reduce_sum(sums), dim=1)", "all_reduce_sum(sums)"),
        "points keep their lengths": ("points = F.normalize(points, dim=1)", "points = points"),
        "each process moves its own centroids": (
            "F.normalize(all_reduce_sum(sums), dim=1)",
            "F.normalize(sums, dim=1)",
        ),
        "every process begins at its own points": (
            "centroids = all_reduce_sum(centroids)",
            "centroids = 1 * centroids",
        ),
    },
    ("kmeans.py", "test_deepcluster.py -k sampling"): {
        "a large cluster shows an image twice": ("if len(own) > each:", "if False:"),
        "one draw too few for each cluster": ("// len(members) + 1", "// len(members)"),
        "clusters are not mixed": ("rows[torch.randperm(len(rows), generator=generator)]", "rows"),
    },
    ("losses.py", "test_deepcluster.py"): {
        "multiplied by the temperature": ("scores / temperature, labels", "scores * temperature, labels"),
    },
    ("methods/deepcluster.py", "test_deepcluster.py"): {
        "each image once an epoch": ("if not self.uniform:", "if True:"),
        "clusters are made anew in every epoch": ("if self.now.epoch % self.every:", "if False:"),
        "clusters are made once": ("if self.now.epoch % self.every:", "if self.now.epoch:"),
        "features in eval mode": ("copy.deepcopy(self).train()", "copy.deepcopy(self).eval()"),
        "batches as the photos lie": ("torch.randperm(len(data)).tensor_split", "torch.arange(len(data)).tensor_split"),
        "clustering moves the running statistics": ("seen = copy.deepcopy(self).train()", "seen = self"),
        "the labels of other rows": ("self.assignments[rows], ", "self.assignments.roll(1)[rows], "),
        "the second view is remembered": ("self.remember(z[: len(rows)]", "self.remember(z[len(rows) :]"),
        "an evaluation is remembered": ("if self.training and self.memory is", "if self.memory is"),
        "an earlier training's images are remembered": (
            "if z is None or self.now.epoch == 0:",
            "if z is None or not len(z):",
        ),
        "the memory is not used": ("if z is None or self.now.epoch == 0:", "if True:"),
        "the second view has the next image's label": ("labels.repeat(len(views))", "labels.repeat_interleave(2)"),
    },
    ("methods/deepcluster.py", "test_every_method.py -k 'never_stopped and DeepCluster'"): {
        "the clusters are not in the checkpoint": (
            'self.register_buffer("assignments", torch.zeros(0, dtype=torch.long))',
            'self.register_buffer("assignments", torch.zeros(0, dtype=torch.long), persistent=False)',
        ),
        "the memory is not in the checkpoint": (
            "torch.zeros(0, dim) if memory else None)",
            "torch.zeros(0, dim) if memory else None, persistent=False)",
        ),
    },
    ("evaluate.py", "test_evaluate.py -k 'nmi or purity or chance'"): {
        "NMI without the root": ("/ math.sqrt(entropies)", "/ entropies.item()"),
        "labels are not shuffled": ("measure(clusters, labels[order])", "measure(clusters, labels)"),
    },
    ("methods/barlow_twins.py", "test_distributed.py -k one_batch"): {
        "the correlation is that of the process's own rows": ("all_gather(self.project(view))", "self.project(view)"),
    },
    ("losses.py", "test_lejepa.py"): {
        "t < 0 does not count": ("return 2 * n * torch.trapezoid", "return n * torch.trapezoid"),
        "mirror images look alike": (
            "(real - gaussian).square() + imaginary.square()",
            "(real - gaussian).square()",
        ),
        "the knots are not weighed": ("torch.trapezoid(distance * gaussian, t", "torch.trapezoid(distance, t"),
    },
    ("losses.py", "test_distributed.py -k LeJEPA"): {
        "each process has a characteristic function of its own": (
            "real, imaginary = all_reduce_mean(of_sample)",
            "real, imaginary = of_sample",
        ),
    },
    ("methods/lejepa.py", "test_lejepa.py"): {
        "the mean has no gradient": ("z[:GLOBAL].mean(dim=0)", "z[:GLOBAL].mean(dim=0).detach()"),
        "small crops are predicted too": ("z[:GLOBAL].mean(dim=0)", "z.mean(dim=0)"),
        "directions are not of length 1": (
            "F.normalize(torch.randn(dim, slices), dim=0)",
            "F.normalize(torch.randn(dim, slices), dim=1)",
        ),
        "prediction has all the weight": ("(1 - self.lambd) * prediction", "prediction"),
    },
    ("methods/ijepa.py", "test_ijepa.py"): {
        "the context encoder sees everything": (
            ".take_along_dim(context[:, :, None], dim=1)\n        return self.student",
            "\n        return self.student",
        ),
        "the target encoder is the context's": (
            "self.encoder.patch_features(images)",
            "self.student.patch_features(images)",
        ),
        "the predictor does not know where": (
            "(self.mask_token + positions[targets])",
            "(self.mask_token + 0 * positions[targets])",
        ),
        "the context's places are forgotten": ("(self.embed(s) + positions[context])", "self.embed(s)"),
        "the target encoder stands still": ("update_ema(self.encoder, self.student, tau)", "pass"),
        "targets are not normalised": ("h = F.layer_norm(h, h.shape[-1:])", "h = h + 0"),
        "places keep what they share": ("h = h - all_reduce_mean(h.mean(dim=0))", "h = h - 0"),
        "pixels are not heard": ("self.pixels * error", "0 * error"),
    },
    ("losses.py", "test_ijepa.py"): {
        "R2 of the worst": ("1 - error / guess", "error / guess"),
        "the guess is one mean for all places": (
            "mean = all_reduce_mean(h.mean(dim=0))",
            "mean = h.mean(dim=(0, 1)).expand(h.shape[1:])",
        ),
        "squared in place of smooth L1": ("F.smooth_l1_loss(s, target)", "F.mse_loss(s, target)"),
    },
    ("blocks.py", "test_ijepa.py"): {
        "the context sees targets": ("free.scatter_(1, targets.flatten(1), False)", "pass"),
        "the last row is never drawn": ("(grid - height + 1)", "(grid - height)"),
        "width and height exchanged": (
            "(area * aspect) ** 0.5), round((area / aspect)",
            "(area / aspect) ** 0.5), round((area * aspect)",
        ),
    },
    ("ema.py", "test_ijepa.py"): {
        "the momentum does not rise": ("base + (1 - base) * min(progress, 1.0)", "base"),
    },
    ("methods/mae.py", "test_mae.py"): {
        "the patches of highest noise are kept": (
            "non_blocking=True).argsort(dim=1, stable=True)",
            "non_blocking=True).argsort(dim=1, stable=True, descending=True)",
        ),
        "one visible patch counts as visible no more": ("mask = ids_restore >= keep", "mask = ids_restore >= keep - 1"),
        "the decoder's tokens are not put back in order": (".take_along_dim(ids_restore[:, :, None], dim=1)", ""),
        "the decoder does not know positions": (
            "torch.cat([cls, x], dim=1) + self.decoder_pos_embed",
            "torch.cat([cls, x], dim=1)",
        ),
        "patches are standardised by the biased variance": (
            "torch.var_mean(pixels, dim=2, keepdim=True)",
            "torch.var_mean(pixels, dim=2, keepdim=True, correction=0)",
        ),
        "AdamW's second beta is PyTorch's": ("betas=(0.9, 0.95)", "betas=(0.9, 0.999)"),
    },
    ("methods/mae.py", "test_gpu_without_gpu.py -k MAE"): {
        "the noise stays on the CPU": ("noise.to(tokens.device, non_blocking=True)", "noise"),
    },
    ("methods/supervised.py", "test_finetune.py"): {
        "pictures get the labels of others": (
            "self.labels[rows.to(self.labels.device, non_blocking=True)]",
            "self.labels[: len(rows)]",
        ),
    },
    ("vit.py", "test_vit.py"): {
        "a small crop's patches lie in the corner": (
            "resize_positions(self.pos_embed, side // self.patch)",
            "self.pos_embed[:, : 1 + (side // self.patch) ** 2]",
        ),
        "a block without its second shortcut": ("return x + self.mlp(self.norm2(x))", "return self.mlp(self.norm2(x))"),
        "rows and columns exchanged": ("torch.cat([column, row], dim=1)", "torch.cat([row, column], dim=1)"),
    },
    ("heads.py", "test_encoders.py"): {
        "no ReLU after a norm": (
            "[nn.BatchNorm1d(outputs), nn.ReLU(inplace=True)] if norm",
            "[nn.BatchNorm1d(outputs)] if norm",
        ),
    },
    ("removals.py", "test_removals.py"): {
        "a run is held to another seed's control": (
            "zip(self.values(question), whole.values(question))",
            "zip(self.values(question), whole.values(question)[1:] * 2)",
        ),
        "one seed that collapses is enough for a verdict": ("if all(self.fallen):", "if any(self.fallen):"),
        "one bad seed hurts": ("max(self.values(q)) < min(self.whole", "min(self.values(q)) < min(self.whole"),
        "the untrained row is that of the end": ("[CURVES[question]][0] for row", "[CURVES[question]][-1] for row"),
    },
    ("widgets/linear_byol.py", "test_linear_byol.py"): {
        "the predictor's decay is forgotten": (
            "rate * s * drive - decay * p, 2 * p * s",
            "rate * s * drive, 2 * p * s",
        ),
        "the decay of s is that of w": ("2 * p * s * drive - 2 * decay * s\n", "2 * p * s * drive - decay * s\n"),
    },
    ("widgets/_decoder.py", "test_latent_sliders_widget.py -k pytorch"): {
        "a folded norm forgets its mean": ("norm.bias - norm.running_mean * scale", "norm.bias"),
    },
    ("widgets/decoder.js", "test_latent_sliders_widget.py -k pytorch"): {
        "the margin is cut off at the wrong end": ("+ (line % side) + 1) * wide", "+ (line % side)) * wide"),
    },
    ("widgets/latent_sliders.py", "test_latent_sliders_widget.py -k state"): {
        "the least active latents come first": ("argsort(descending=True)", "argsort()"),
    },
    ("widgets/gan_game.js", "test_gan_game_widget.py -k 'autograd or coverage'"): {
        "minimax does not saturate": (
            "(saturates ? -sigmoid(v) : -sigmoid(-v))",
            "(saturates ? -sigmoid(-v) : -sigmoid(-v))",
        ),
        "one point covers a mode": ("n >= ENOUGH * all", "n > 0"),
    },
    ("widgets/plane_networks.js", "test_gan_game_widget.py -k 'autograd or adam'"): {
        "no slope goes through a leak": ("all[k][i] > 0 ? v : LEAK * v", "all[k][i] > 0 ? v : 0"),
        "Adam does not correct its squares": ("Math.sqrt(square[i] / two)", "Math.sqrt(square[i])"),
    },
    ("widgets/decoder.js", "test_generator_walk_widget.py -k closed"): {
        "an arc is a line": ("if (Math.sin(angle) < 1e-4) return", "return"),
    },
    ("widgets/partner.js", "test_partner.py"): {
        "the partner is always first": ("Math.floor(CHOICES * numbers[count])", "0"),
        "the asked view is the candidate": (
            "view(pictures[partner], numbers[CHOICES])",
            "view(pictures[partner], numbers[partner])",
        ),
        "an answer may be changed": ("if (chosenIn(widget) !== null) return;", ""),
    },
    ("graph.py", "test_graph.py"): {
        "a flip is forgotten": ("torch.where(parameters.flip, -x, x)", "x"),
        "y points down": ("y = 1 - 2 * (", "y = -1 + 2 * ("),
        "two views are two pictures": ("A.T @ A / len(A)", "torch.outer(A.mean(dim=0), A.mean(dim=0))"),
        "only one of the two views is misread": (
            "confusion.T @ joined @ confusion",
            "(confusion.T @ joined + joined @ confusion) / 2",
        ),
        "eigenvectors of the matrix are taken for functions": ("vectors.flip(1) / root[:, None]", "vectors.flip(1)"),
        "asked where they were found": ("found = torch.cat([y1 @", "found = torch.cat([x1 @"),
    },
    ("evaluate.py", "test_evaluate.py"): {
        "sharpness is of the mean entropy": (
            "entr(_assigned(assignments)).sum(dim=1).exp().mean()",
            "entr(_assigned(assignments)).sum(dim=1).mean().exp()",
        ),
        "prototypes are counted by image": (
            "entr(_assigned(assignments).mean(dim=0)).sum()",
            "entr(_assigned(assignments)).sum(dim=1).mean()",
        ),
        "the probe's features are not standardised": ("((f - mean) / deviation for f in", "(f for f in"),
        "the deviation is clamped": (
            "(train_features.var(dim=0) + 1e-6).sqrt()",
            "train_features.std(dim=0).clamp(min=1e-6)",
        ),
        "the probe has no L2 penalty": ("weight_decay / 2 * classifier.weight", "0 * classifier.weight"),
        "the penalty is twice as strong": ("weight_decay / 2 * classifier.weight", "weight_decay * classifier.weight"),
        "test statistics in the probe": (
            "train_features.mean(dim=0), (train_features.var(dim=0) + 1e-6).sqrt()",
            "test_features.mean(dim=0), (test_features.var(dim=0) + 1e-6).sqrt()",
        ),
        "each set is standardised by itself": (
            "((f - mean) / deviation for f in",
            "((f - f.mean(dim=0)) / f.std(dim=0) for f in",
        ),
        "the probe stops early": ("dict(max_iter=steps,", "dict(max_iter=5,"),
        "kNN: the temperature multiplies": ("(similarity / temperature).softmax", "(similarity * temperature).softmax"),
        "kNN: the farthest vote": (".topk(k, dim=1)", ".topk(k, dim=1, largest=False)"),
        "kNN: training features are not normalised": (
            "train = F.normalize(train_features, dim=1).T",
            "train = train_features.T",
        ),
        "the encoder is asked in train mode": ("    encoder.eval()\n", "    encoder.train()\n"),
        "the encoder's mode is not put back": ("encoder.train(training)", "pass"),
        "few labels: a class may have none": ("max(1, round(share * len(rows)))", "int(share * len(rows))"),
        "the report's few labels are always the same": (
            "few_labels(labels, 0.01, seed)",
            "few_labels(labels, 0.01, 0)",
        ),
        "the report's few labels are all labels": (
            "linear_evaluation(x[few], labels[few], y, test_labels)",
            "linear_evaluation(x, labels, y, test_labels)",
        ),
        "LiDAR: the views' noise does not count": (
            "whitened = apart @ vectors / values.sqrt()",
            "whitened = apart @ vectors",
        ),
        "LiDAR: the mean of all images is not taken away": ("means - means.mean(dim=0), (x", "means, (x"),
        "LiDAR: singular values instead of eigenvalues": (
            "torch.linalg.svdvals(whitened).square()",
            "torch.linalg.svdvals(whitened)",
        ),
        "alpha of singular values": (
            "torch.linalg.svdvals(x - x.mean(dim=0)).square()",
            "torch.linalg.svdvals(x - x.mean(dim=0))",
        ),
        "alpha counts the first directions": ("[first - 1 : last]", "[:last]"),
        "RankMe of centred features": (
            "torch.linalg.svdvals(_finite(features))",
            "torch.linalg.svdvals(_finite(features - features.mean(dim=0)))",
        ),
    },
    ("finetune.py", "test_finetune.py"): {
        "fine-tunes the original": ("tuned = copy.deepcopy(encoder)", "tuned = encoder"),
        "fine-tunes on all labels": ("few = train[few_labels(train.labels, share, seed)]", "few = train"),
        "asks the encoder from before": ("embed(tuned, test)", "embed(encoder, test)"),
    },
    ("pretrain.py", "test_pretrain.py -k rate_rises"): {
        "no learning-rate schedule": (
            "self.rate = lr * warmup_cosine(self.step, self.total, warmup)",
            "self.rate = lr",
        ),
        "a group's own rate is not heard": ("rate_of(group, lr, self.rate)", "self.rate"),
        "the method is told its progress of before the step": (
            "        self.step += 1\n        self.method.after_step(self.step / self.total)",
            "        self.method.after_step(self.step / self.total)\n        self.step += 1",
        ),
    },
    ("pretrain.py", "test_pretrain.py -k 'turn or first_gradient or learns'"): {
        "gradients pile up": ("optimizer.zero_grad(set_to_none=True)", "pass"),
    },
    ("pretrain.py", "test_pretrain.py -k weight_decay"): {
        "weight decay stays where it began": ('if "weight_decay_end" in group:', "if False:"),
    },
    ("pretrain.py", "test_pretrain.py -k first_gradient"): {
        "before_step is not called": ("self.method.before_step()", "pass"),
    },
    ("pretrain.py", "test_every_method.py -k 'never_stopped and SimCLR'"): {
        "a run that goes on draws other batches": ('self.generator.set_state(state["generator"])', "pass"),
        "a run that goes on forgets the momentum": ('optimizer.load_state_dict(state["optimizers"][turn])', "pass"),
        "a run that goes on begins the epoch again": (
            'self.epoch_start = state["step"], state["seconds"], state["epoch_start"]',
            'self.epoch_start = state["step"], state["seconds"], state["generator"]',
        ),
    },
    ("pretrain.py", "test_every_method.py -k 'never_stopped and MAE'"): {
        "a run that goes on draws other masks": ('torch.set_rng_state(state["torch_rng"])', "pass"),
    },
    (
        "pretrain.py",
        "test_pretrain.py",
    ): {
        "the method trains in eval mode": ("        self.method.train()\n", "        self.method.eval()\n"),
    },
    ("pretrain.py", "test_every_method.py -k 'same_seed and SimCLR'"): {
        "the caller's random numbers are taken": (
            "torch.random.fork_rng(devices=[])",
            "contextlib.nullcontext()",
        ),
    },
    ("pretrain.py", "test_pretrain.py -k other_settings"): {
        "a checkpoint of other settings is taken": (
            'self._check_config(path, state["history"]["config"], state["identity"])',
            "pass",
        ),
    },
    ("pretrain.py", "test_pretrain.py -k other_images"): {
        "a run goes on with other images": ("self.data.checksum()", '""'),
    },
    ("pretrain.py", "test_pretrain.py -k 'argument_of and SimSiam'"): {
        "a run goes on with another stop-gradient": ("| self.arguments", "| {}"),
    },
    ("pretrain.py", "test_pretrain.py -k half_precision"): {
        "a run that began without a scale does not go on": ('if state["scaler"]:', "if True:"),
    },
    ("pretrain.py", "test_gpu_without_gpu.py -k share"): {
        "processes on GPUs compare a number on the CPU": (
            "torch.full((), float(self.step), device=self.device)",
            "torch.tensor(float(self.step))",
        ),
    },
    ("pretrain.py", "test_pretrain.py -k no_number"): {
        "a loss that is no number goes on": ("if not math.isfinite(value):", "if False:"),
    },
    ("pretrain.py", "test_gpu_without_gpu.py -k SimCLR"): {
        "the views stay where the pictures are": ("batch.to(self.device, non_blocking=True)", "batch"),
        "the step waits for the GPU": (
            "self.terms[name][place] = value.detach()",
            "self.terms[name][place] = value.item()",
        ),
    },
    ("callbacks.py", "test_every_method.py -k 'history and SimCLR'"): {
        "the probe asks every epoch": ("if rank() or (run.epoch % self.every and not last):", "if rank():"),
        "the probe forgets the last epoch": ("last = run.step == run.total", "last = False"),
    },
    ("callbacks.py", "test_pretrain.py -k how_often"): {
        "no checkpoint at the end": ("if passed_one or run.step == run.total:", "if passed_one:"),
        "no checkpoint inside an epoch": ("if inside_an_epoch and run.step % self._steps(run) == 0:", "if False:"),
    },
    ("callbacks.py", "test_pretrain.py -k no_number"): {
        "broken weights are kept": ("        if broken:  ", "        if False:  "),
    },
    ("photos.py", "test_data.py"): {
        "12 bits in a 16-bit file are nearly black": ("(255, 1023, 4095, 16383, 65535)", "(65535,)"),
        "one infinite pixel decides on white": ("values[np.abs(values) < 1e30] if is_float else values", "values"),
        "a bomb below Pillow's limit is decoded": ("if pixels > MOST_PIXELS:", "if False:"),
        "names of two Unicode forms are two classes": ('unicodedata.normalize("NFC", parts[0])', "parts[0]"),
    },
    ("pretrained.py", "test_pretrained.py -k flipped"): {
        "a flipped bit is loaded": ("if checksum != _checksum(about, tensors):", "if False:"),
        "the checksum is of the tensors alone": ("json.dumps(about, sort_keys=True).encode()", 'b""'),
    },
    ("checkpoint.py", "test_checkpoint.py"): {
        "a checkpoint may run code": ("weights_only=True", "weights_only=False"),
        "one checkpoint too many is kept": ("if file <= path][:-keep]:", "if file <= path][: -keep - 1]:"),
        "the oldest checkpoint is taken": ("for path in reversed(steps(folder)):", "for path in steps(folder):"),
        "a wrong bit is not seen": ("        _check_sums(path)\n", ""),
        "Drive's bin fills": ("os.truncate(path, 0)", "pass"),
    },
    ("files.py", "test_checkpoint.py"): {
        "two processes hold one folder": ("stack.enter_context(lock.acquire(timeout=patience))", "pass"),
        "a file is written in place": (
            'part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")',
            "part = path",
        ),
    },
    ("history.py", "test_every_method.py -k 'history and SimCLR'"): {
        "a column has rows where nothing was measured": (
            "[row[column] for row in self.epochs if column in row]",
            "[row.get(column) for row in self.epochs]",
        ),
    },
}
MUTANTS = [
    Mutant(file, mistake, old, new, tests)
    for (file, tests), mistakes in MISTAKES.items()
    for mistake, (old, new) in mistakes.items()
]


def copy(source: Path, target: Path) -> None:
    """What the tests need, from one folder into another."""
    for name in COPIED:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source / name, target / name)


def status(folder: Path, tests: str) -> int:
    """Run tests on the package in the folder until the first fails, in a process of its own: pytest's exit status."""
    os.chdir(folder)
    os.environ["PYTHONPATH"] = str(folder)  # for the processes that tests start
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    signal.signal(signal.SIGALRM, hangs)
    signal.alarm(PATIENCE)
    words = [f"tests/{word}" if word.endswith(".py") else word for word in shlex.split(tests)]
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *words]))


def hangs(*_):
    raise TimeoutError("a test that takes so long has noticed")


def verdict(mutant: Mutant, package: Path) -> str:
    """caught, SURVIVED, or what is wrong with the mutant."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy(package, folder)
        (folder / "sslbook" / mutant.file).write_text(mutant.source(package), encoding="utf-8")
        found = status(folder, mutant.tests)
    return {0: "SURVIVED", 1: "caught"}.get(found, f"BROKEN (pytest ended with {found})")


def check(mutants: list[Mutant], package: Path, pool: ProcessPoolExecutor) -> None:
    """Stop with status 2 if a mutant is stale, or if tests fail on the package as it is."""
    wrong = []
    for mutant in mutants:
        try:
            mutant.source(package)
        except (LookupError, SyntaxError) as error:
            wrong.append(f"{mutant.file}: {mutant.mistake}: {error}")
    tests = sorted({mutant.tests for mutant in mutants})
    if not wrong:
        found = pool.map(status, [package] * len(tests), tests)
        wrong = [f"{test} fails without a mutant: pytest ended with {end}" for test, end in zip(tests, found) if end]
    if wrong:
        print(*wrong, sep="\n")
        sys.exit(2)


def main() -> None:
    words = [word.lower() for word in sys.argv[1:]]
    mutants = [m for m in MUTANTS if not words or any(word in f"{m.file} {m.mistake}".lower() for word in words)]
    began, verdicts = time.perf_counter(), []
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "playwright.sync_api", "sklearn.linear_model", "torchvision"])
    with (
        tempfile.TemporaryDirectory() as name,
        ProcessPoolExecutor(JOBS, context, max_tasks_per_child=1) as pool,
    ):
        package = Path(name)  # what is edited meanwhile in the checkout does not matter
        copy(ROOT, package)
        check(mutants, package, pool)
        for mutant, found in zip(mutants, pool.map(verdict, mutants, [package] * len(mutants))):
            verdicts.append(found)
            print(f"{found:9} {mutant.file}: {mutant.mistake}", flush=True)
    caught, minutes = verdicts.count("caught"), (time.perf_counter() - began) / 60
    print(f"\n{caught} of {len(mutants)} mutants caught, in {minutes:.0f} minutes")
    if any(found.startswith("BROKEN") for found in verdicts):
        sys.exit(2)
    sys.exit(1 if "SURVIVED" in verdicts else 0)


if __name__ == "__main__":
    main()
