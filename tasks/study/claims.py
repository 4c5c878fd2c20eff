"""The paper's eight claims (Gal et al. 2022, section 5), each decided by paired comparisons."""

from collections.abc import Callable

from tasks.study.comparisons import AGAINST, AS_WELL, COUNTS, EDITABLE, FAITHFUL, Claim, Comparison, Study, compare, named, value

PAPER = ("plain", "two-vectors", "three-vectors", "progressive", "regularised", "per-image", "high-lr", "low-lr")
"""The setups of the paper's Figure 10(a). Pivotal tuning is in claim (h), and the paper has none of the others."""


def decide(study: Study) -> list[Claim]:
    """Return the claims in the paper's order with the numbers that decide them."""
    return [Claim(letter, " ".join(str(claim.__doc__).split()), claim(study)) for letter, claim in CLAIMS.items()]


def claim_a(study: Study) -> list[Comparison]:
    """one word reconstructs about as well as random training pictures do"""
    shares = [(cell.concept, FAITHFUL(cell) / cell.scores["reconstruction"]["image_only"]) for cell in study.of("setup", "plain")]
    return compare(f"reconstruction: plain as a share of Image-Only, at least {AS_WELL:g}", shares, AS_WELL)


def claim_b(study: Study) -> list[Comparison]:
    """one word is at least as editable as several, at a similar reconstruction"""
    return [comparison for several in ("two-vectors", "three-vectors") for comparison in more(study, "plain", several, "editability", -COUNTS)]


def claim_c(study: Study) -> list[Comparison]:
    """the learning rate moves along one curve: the higher, the more faithful and the less editable"""
    return [
        *more(study, "high-lr", "plain", "reconstruction"),
        *more(study, "plain", "low-lr", "reconstruction"),
        *more(study, "plain", "high-lr", "editability"),
        *more(study, "low-lr", "plain", "editability"),
    ]


def claim_d(study: Study) -> list[Comparison]:
    """regularised and Low-LR words are more editable and less faithful"""
    return [
        *more(study, "regularised", "plain", "editability"),
        *more(study, "plain", "regularised", "reconstruction"),
        *more(study, "low-lr", "plain", "editability"),
        *more(study, "plain", "low-lr", "reconstruction"),
    ]


def claim_e(study: Study) -> list[Comparison]:
    """human captions lose on both scores, long ones most on editability"""
    return [
        *reference(study, "value", "human_short", "reconstruction"),
        *reference(study, "value", "human_short", "editability"),
        *reference(study, "value", "human_long", "reconstruction"),
        *reference(study, "human_short", "human_long", "editability"),
    ]


def claim_f(study: Study) -> list[Comparison]:
    """Image-Only and Prompt-Only are the extremes"""
    return [
        *extreme(study, "image_only", "reconstruction", +1),
        *extreme(study, "image_only", "editability", -1),
        *extreme(study, "prompt_only", "editability", +1),
        *extreme(study, "prompt_only", "reconstruction", -1),
    ]


def claim_g(study: Study) -> list[Comparison]:
    """more than five pictures drift away from real words and lose editability"""
    smallest, largest = "5", (study.setups("size") or [""])[-1]
    likeness = study.paired("size", smallest, largest, lambda result: result.numbers()["word_likeness"])
    return [
        *more(study, smallest, largest, "editability", kind="size"),
        *compare(f"cosine with the nearest word: {smallest} above {largest} pictures", likeness),
    ]


def claim_h(study: Study) -> list[Comparison]:
    """pivotal tuning loses edits at high guidance; bipartite inversion keeps the shape at low guidance, where it does not follow the prompt"""

    def cost(setup: str, concept: str, seed: int) -> float:
        """Return the editability that is lost when a training's word is drawn with more guidance."""
        return EDITABLE(study.cells["setup", setup, concept, seed]) - EDITABLE(study.cells["guided", setup, concept, seed])

    guided = [(result.concept, result.seed) for result in study.of("guided", "pivotal")]
    dearer = [(at[0], cost("pivotal", *at) - cost("plain", *at)) for at in guided]
    return [
        *more(study, "plain", "pivotal", "editability", kind="guided"),
        *compare("editability that the guidance costs: pivotal above plain", dearer),
        *bipartite(study),
    ]


def bipartite(study: Study) -> list[Comparison]:
    """Does low guidance keep the shape in the edits, and does high guidance follow the prompt? (Appendix A.)"""
    scales = sorted((setup for setup in study.setups("rival") if setup.startswith("bipartite-")), key=lambda setup: float(setup.split("-")[1]))
    if not scales:
        return []
    low, high = scales[0], scales[-1]
    kept = study.paired("rival", low, high, value("fidelity", "edited")) if all("fidelity" in cell.scores for cell in study.of("rival", low)) else []
    return [
        *compare(f"fidelity of the edits: {low} above {high}", kept),
        *more(study, high, low, "editability", kind="rival"),
    ]


CLAIMS: dict[str, Callable[[Study], list[Comparison]]] = {
    "a": claim_a,
    "b": claim_b,
    "c": claim_c,
    "d": claim_d,
    "e": claim_e,
    "f": claim_f,
    "g": claim_g,
    "h": claim_h,
}
"""The paper's letter -> the function that decides the claim; its docstring is the claim's text."""


def more(study: Study, higher: str, lower: str, score: str, by: float = 0.0, kind: str = "setup") -> list[Comparison]:
    """Is one setup's score above another's?"""
    slack = f", or at most {-by:g} below" if by < 0 else ""
    return compare(f"{score}: {higher} above {lower}{slack}", study.paired(kind, higher, lower, value(score)), by)


def reference(study: Study, one: str, other: str, score: str) -> list[Comparison]:
    """Is a reference's score above another's? A score that does not depend on the training seed counts once for each concept."""
    pairs = [(result.concept, result.scores[score].get(one), result.scores[score].get(other)) for result in study.of("setup", "plain")]
    measured = [(concept, first - second) for concept, first, second in pairs if first is not None and second is not None]
    return compare(f"{score}: {named(one)} above {named(other)}", measured if one == "value" else dict(measured).items())


def extreme(study: Study, reference_name: str, score: str, sign: int) -> list[Comparison]:
    """Is a reference beyond every setup of the paper? The comparison that is worst for the claim decides."""
    comparisons = []
    for setup in (setup for setup in study.setups("setup") if setup in PAPER):
        cells = [(result.concept, result.scores[score]) for result in study.of("setup", setup)]
        values = [(concept, sign * (scores[reference_name] - scores["value"])) for concept, scores in cells]
        comparisons += compare(f"{score}: {named(reference_name)} {'above' if sign > 0 else 'below'} {setup}", values)
    return sorted(comparisons, key=lambda comparison: (AGAINST.index(comparison.verdict), comparison.low))[:1]
