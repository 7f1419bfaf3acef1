"""Answers that students may give in place of the masters': each is right, and every check must accept it.

{sheet: {cell: its whole source}}
"""

RIGHT = {
    "why_labels_run_out": {
        "implement-turns": """
def quarter_turns(images, generator):
    turns = torch.randint(0, 4, (images.shape[0],), generator=generator)
    turned = images.clone()
    for k in range(1, 4):
        turned[turns == k] = torch.rot90(images[turns == k], k, (2, 3))
    return turned, turns
""",
        "implement-draw": """
def balanced_draw(labels, per_class, generator):
    order = torch.rand(len(labels), generator=generator).argsort()
    return torch.cat([order[labels[order] == c][:per_class] for c in labels.unique()])
""",
    },
    "contrastive_learning": {
        "implement-loss": """
def info_nce_loss(features, temperature):
    features = features / features.norm(dim=1, keepdim=True)
    n, total = len(features) // 2, 0
    for i in range(2 * n):
        scores = features @ features[i] / temperature
        others = torch.cat([scores[:i], scores[i + 1 :]])
        total = total + others.logsumexp(dim=0) - scores[(i + n) % (2 * n)]
    return total / (2 * n)
""",
        "implement-false": """
def info_nce_without(features, labels, temperature):
    z = F.normalize(features, dim=1)
    both, n = torch.cat([labels, labels]), len(labels)
    scores = z @ z.T / temperature
    positive = torch.cat([scores.diagonal(n), scores.diagonal(-n)])
    others = scores.masked_fill(both[:, None] == both[None], float("-inf"))
    return (torch.cat([positive[:, None], others], dim=1).logsumexp(dim=1) - positive).mean()
""",
    },
    "simclr": {
        "implement-boxes": """
def random_boxes(n, size, smallest, generator):
    area = (torch.rand(n, generator=generator) * (1 - smallest) + smallest) * size**2
    side = area**0.5
    top = torch.rand(n, generator=generator) * (size - side)
    left = torch.rand(n, generator=generator) * (size - side)
    return torch.stack([top, left, side]).T
""",
        "implement-loss": """
def simclr_loss(encoder, projector, x1, x2, temperature):
    h1, h2 = encoder(torch.vstack([x1, x2])).split(len(x1))
    z = projector(torch.vstack([h1, h2]))
    return info_nce_loss(features=z, temperature=temperature)
""",
    },
    "moco": {
        "implement-queue": """
class KeyQueue:
    def __init__(self, dim, K, generator):
        keys = torch.randn(K, dim, generator=generator)
        self.keys, self.next = keys / keys.norm(dim=1, keepdim=True), 0

    def logits(self, q, k, temperature):
        positive = torch.einsum("nd,nd->n", q, k)[:, None]
        return torch.hstack([positive, torch.einsum("nd,kd->nk", q, self.keys)]) / temperature

    def add(self, k):
        keys = self.keys.clone()
        for key in k.detach():
            keys[self.next] = key
            self.next = (self.next + 1) % len(keys)
        self.keys = keys
""",
        "implement-ema": """
@torch.no_grad()
def momentum_update(f_k, f_q, m):
    for theta_k, theta_q in zip(f_k.parameters(), f_q.parameters()):
        theta_k.copy_(m * theta_k + (1 - m) * theta_q)
    return f_k
""",
    },
    "byol": {
        "implement-loss": """
def byol_step_loss(online, predictor, target, x1, x2):
    p1, p2 = predictor(online(x1)), predictor(online(x2))
    t1, t2 = target(x1).detach(), target(x2).detach()
    cosines = F.cosine_similarity(p1, t2) + F.cosine_similarity(p2, t1)
    return (4 - 2 * cosines).mean()
""",
        "implement-tau": """
def tau_at(step, steps, base):
    return 1 - (1 - base) * math.cos(math.pi * step / steps / 2) ** 2
""",
    },
    "simsiam": {
        "implement-step": """
def train_step(f, h, optimizer, x1, x2):
    optimizer.zero_grad()
    z1, z2 = f(x1), f(x2)
    pairs = ((h(z1), z2.detach()), (h(z2), z1.detach()))
    loss = -sum((F.normalize(p) * F.normalize(z)).sum(dim=1).mean() for p, z in pairs) / 2
    loss.backward()
    optimizer.step()
    return float(loss.detach())
""",
        "implement-eta": """
@torch.no_grad()
def eta(f, images, view, times, generator):
    return torch.stack([f(view(images, generator)) for _ in range(times)]).mean(dim=0)
""",
    },
    "collapse_lab": {
        "implement-rank": """
def rank_of(z):
    sigma = torch.svd(z).S
    p = sigma[sigma > 0] / sigma.sum()
    return float(torch.exp(-(p * torch.log(p)).sum()))
""",
        "implement-doctor": """
def doctor(z, z_healthy, least=0.25):
    dimensional = rank_of(z) / rank_of(z_healthy) < least
    if evaluate.spread(z) / evaluate.spread(z_healthy) < least:
        return "complete"
    return "dimensional" if dimensional else "alive"
""",
    },
    "dino": {
        "implement-teacher": """
def teacher_says(g_t, c, T_t, m):
    with torch.no_grad():
        weights = torch.exp((g_t - c) / T_t - ((g_t - c) / T_t).amax(dim=1, keepdim=True))
        new = torch.lerp(g_t.mean(dim=0), c, m)
        return weights / weights.sum(dim=1, keepdim=True), new
""",
        "implement-loss": """
def dino_loss(g_s, P_t, T_s):
    total, n = 0, len(g_s[0])
    for i in (0, 1):
        others = [g for j, g in enumerate(g_s) if j != i]
        for scores in others:
            scores = scores / T_s
            log_p = scores - scores.logsumexp(dim=1, keepdim=True)
            total = total - torch.einsum("nk,nk->", P_t[i], log_p) / n
    return total / (2 * (len(g_s) - 1))
""",
    },
    "barlow_twins": {
        "implement-correlation": """
def cross_correlation(z1, z2):
    a, b = (F.batch_norm(z, None, None, training=True, eps=1e-5) for z in (z1, z2))
    return torch.einsum("ni,nj->ij", a, b) / z1.shape[0]


F = torch.nn.functional
""",
        "implement-loss": """
def barlow_loss(c, lambd):
    eye = torch.eye(len(c))
    return ((c - eye) ** 2 * (eye + lambd * (1 - eye))).sum()
""",
    },
    "vicreg": {
        "implement-terms": """
def variance(z):
    n = z.shape[0]
    var = ((z - z.mean(dim=0, keepdim=True)) ** 2).sum(dim=0) / (n - 1)
    return torch.nn.functional.relu(1.0 - torch.sqrt(var + 0.0001)).mean()


def covariance(z):
    c = torch.cov(z.T)
    mask = 1 - torch.eye(z.shape[1])
    return ((c * mask) ** 2).sum() / z.shape[1]
""",
        "implement-loss": """
def vicreg_loss(z1, z2, lambd, mu, nu):
    loss = lambd * torch.nn.functional.mse_loss(z1, z2)
    for z in (z1, z2):
        loss = loss + mu * variance(z) / 2 + nu * covariance(z)
    return loss
""",
    },
    "lejepa": {
        "implement-statistic": """
def statistic(x, t):
    of_sample = torch.exp(1j * torch.outer(t, x)).mean(dim=1)
    weight = torch.exp(-t.square() / 2)
    return x.shape[0] * torch.trapezoid((of_sample - weight).abs().square() * weight, t)
""",
        "implement-loss": """
def lejepa_loss(z, directions, lambd):
    along = torch.einsum("vnd,dm->vmn", z, directions)
    total, count = 0.0, 0
    for view in along:
        for sample in view:
            total, count = total + statistic(sample, KNOTS), count + 1
    return (1 - lambd) * z.var(dim=0, correction=0).mean() + lambd * total / count
""",
    },
    "why_it_works": {
        "implement-functions": """
def eigenfunctions_of(w):
    root = torch.sqrt(torch.sum(w, dim=0))
    U, sizes, _ = torch.linalg.svd(w / torch.outer(root, root))  # no eigenvalue is negative
    return sizes, torch.diag(1 / root) @ U
""",
        "implement-loss": """
def spectral_loss(f, w):
    root = w.sum(dim=0).sqrt()
    A, F = w / torch.outer(root, root), root[:, None] * f
    return (A - F @ F.T).square().sum() - A.square().sum()
""",
    },
    "ijepa": {
        "implement-context": """
def context_patches(block, targets, patches, noise):
    rows = []
    for own, hidden, numbers in zip(block.tolist(), targets.flatten(1).tolist(), noise):
        free = torch.tensor(sorted(set(own) - set(hidden)), dtype=torch.long)
        rows.append(free[numbers[free].argsort()])
    shortest = min(len(row) for row in rows)
    return torch.stack([row[:shortest] for row in rows])
""",
        "implement-monitors": """
def monitors(s, h):
    centred = h - h.mean(dim=2, keepdim=True)
    t = centred / (h.var(dim=2, keepdim=True, correction=0) + 1e-5) ** 0.5
    variance = t.var(dim=0, correction=0).mean()
    return float(1 - F.mse_loss(s, t) / variance), float(variance) ** 0.5
""",
    },
    "swav": {
        "implement-balance": """
@torch.no_grad()
def balance(scores, epsilon, iterations):
    log_q = scores / epsilon
    for _ in range(iterations):
        log_q = (log_q - log_q.logsumexp(dim=0)).log_softmax(dim=1)
    return log_q.exp()
""",
        "implement-swapped": """
def swapped_loss(scores, codes, temperature):
    log_p = torch.log_softmax(torch.stack(scores) / temperature, dim=2)
    pairs = [(s, t) for s in range(len(codes)) for t in range(len(scores)) if s != t]
    total = sum((codes[s] * log_p[t]).sum() for s, t in pairs)
    return -total / len(pairs) / len(scores[0])
""",
    },
    "deepcluster": {
        "implement-kmeans": """
def kmeans_step(points, centroids):
    cosines = F.cosine_similarity(points[:, None], centroids[None], dim=2)
    nearest = cosines.max(dim=1).indices
    moved = []
    for i, old in enumerate(centroids):
        own = points[nearest == i]
        moved.append(own.mean(dim=0) / own.mean(dim=0).norm() if len(own) else old)
    return nearest, torch.stack(moved)
""",
        "implement-weights": """
def image_weights(clusters):
    _, where, sizes = clusters.unique(return_inverse=True, return_counts=True)
    return len(clusters) / (len(sizes) * sizes[where])
""",
    },
    "beit": {
        "implement-loss": """
def hidden_loss(logits, codes, mask):
    scores, right = logits[mask], codes[mask]
    chosen = scores[torch.arange(len(right)), right]
    return (scores.logsumexp(dim=1) - chosen).mean()
""",
        "implement-bits": """
def bits(codes, labels):
    total = 0.0
    for c in codes.unique():
        for y in labels.unique():
            both = ((codes == c) & (labels == y)).double().mean()
            if both > 0:
                chance = (codes == c).double().mean() * (labels == y).double().mean()
                total += (both * (both / chance).log2()).item()
    return total
""",
    },
    "bert": {
        "implement-hide": """
def hide_words(tokens, u, others, share=0.15):
    kind = torch.bucketize(u / share, torch.tensor([0.8, 0.9, 1.0]), right=True)
    choices = torch.stack([torch.zeros_like(tokens), others, tokens, tokens])
    return choices.gather(0, kind[None])[0], kind < 3
""",
        "implement-loss": """
def word_loss(logits, tokens, asked):
    return torch.nn.functional.cross_entropy(logits[asked], tokens[asked])
""",
    },
    "mae": {
        "implement-masking": """
def random_masking(tokens, keep, noise):
    order = torch.argsort(noise, dim=1)
    places = torch.arange(noise.shape[1]).expand_as(order)
    restore = torch.empty_like(order).scatter_(1, order, places)
    mask = torch.ones_like(order, dtype=torch.bool).scatter_(1, order[:, :keep], False)
    visible = torch.stack([image[kept[:keep]] for image, kept in zip(tokens, order)])
    return visible, mask, restore
""",
        "implement-error": """
def masked_error(pred, target, mask):
    return ((pred - target) ** 2)[mask].mean()
""",
    },
    "vae": {
        "implement-kl": """
def kl(mu, logvar):
    sigma = torch.exp(logvar / 2)
    return (mu * mu + sigma * sigma - 1) / 2 - sigma.log()
""",
        "implement-bound": """
def minus_elbo(x, mu, logvar, eps, decode, s):
    painted = decode(torch.addcmul(mu, logvar.exp().sqrt(), eps))
    bounds = []
    for picture, ours, m, v in zip(x, painted, mu, logvar):
        bounds.append((((picture - ours) / s) ** 2).sum() / 2 + (m**2 + v.exp() - v - 1).sum() / 2)
    return torch.stack(bounds)
""",
    },
    "gan": {
        "implement-losses": """
def losses(real, made):
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    discriminator = entropy(real, torch.ones_like(real)) + entropy(made, 0 * made.detach())
    return discriminator, entropy(made, torch.ones_like(made))
""",
        "implement-slope": """
def slope_penalty(discriminator, x):
    total = 0.0
    for row in x.detach():
        row = row.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(discriminator(row[None])[0], row, create_graph=True)
        total = total + (gradient**2).sum() / len(x)
    return total
""",
    },
    "comparison": {
        "implement-chance": """
def chance(a, b):
    runs = torch.tensor([*a, *b], dtype=torch.float64)
    ways = torch.tensor(list(itertools.product([False, True], repeat=len(runs))))
    ways = ways[ways.sum(dim=1) == len(a)].double()
    gaps = (ways @ runs / len(a) - (1 - ways) @ runs / len(b)).abs()
    seen = abs(sum(a) / len(a) - sum(b) / len(b))
    return float((gaps > seen - 1e-12).double().mean())
""",
        "implement-holm": """
def holm(p_values, level):
    p = torch.tensor(p_values, dtype=torch.float64)
    p, order = p.sort(stable=True)
    held_to = level / torch.arange(len(p), 0, -1)
    kept = (p <= held_to).long().cumprod(dim=0).bool()
    return kept[order.argsort()].tolist()
""",
    },
    "targets": {
        "implement-fit": """
def fit(features, values, new_features, ridge=1e-3):
    N, D = features.shape
    moves = features.std(dim=0, correction=0) > 1e-9
    mean, width = features.mean(dim=0)[moves], features.std(dim=0, correction=0)[moves]
    x = (features[:, moves] - mean) / width
    ones = (ridge * N) ** 0.5 * torch.eye(x.shape[1], dtype=x.dtype)
    centre = values.mean(dim=0, keepdim=True)
    wanted = torch.cat([values - centre, torch.zeros(x.shape[1], values.shape[1], dtype=x.dtype)])
    W = torch.linalg.lstsq(torch.cat([x, ones]), wanted).solution
    return centre + (new_features[:, moves] - mean) / width @ W
""",
        "implement-share": """
def share(values, guess):
    columns = []
    for y, said in zip(values.T, guess.T):
        columns.append(1 - F.mse_loss(said, y) / y.var(correction=0))
    return float(sum(columns) / len(columns))
""",
    },
    "evaluation": {
        "implement-knn": """
def knn_predict(train_features, train_labels, test_features, k, temperature):
    guesses = []
    for row in test_features:
        cosine = F.cosine_similarity(row[None], train_features)
        votes = torch.zeros(int(train_labels.max()) + 1)
        for i in cosine.argsort(descending=True)[:k]:
            votes[train_labels[i]] += torch.exp(cosine[i] / temperature)
        guesses.append(votes.argmax())
    return torch.stack(guesses)
""",
        "implement-probe": """
def linear_probe(encoder, images, labels, test_images, steps=300):
    was_training = encoder.training
    encoder.eval()
    layer = nn.Linear(encoder.features_dim, len(labels.unique()))
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.02)
    with torch.no_grad():
        train_features = encoder(images)
        test_features = encoder(test_images)
    mean, std = train_features.mean(0), train_features.std(0, correction=0) + 1e-8
    for _ in range(steps):
        optimizer.zero_grad()
        nn.CrossEntropyLoss()(layer((train_features - mean) / std), labels).backward()
        optimizer.step()
    encoder.train(was_training)
    with torch.no_grad():
        return layer((test_features - mean) / std).max(dim=1).indices
""",
    },
}
