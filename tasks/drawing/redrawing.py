"""Draw those parts of the report that show something else than before."""

from collections.abc import Mapping

from tasks import artifacts
from tasks.drawing.index import write_index
from tasks.drawing.page import write_page
from tasks.pipeline import fingerprints, repository
from tasks.settings import Settings


def redraw(repo: repository.CatalogRepo, settings: Settings, current: Mapping[str, str], pull: bool = False) -> None:
    """Draw and record the pages of the concepts that have changed, and then the index; a concept that is not built has no page.

    A page that was drawn of the same results before is restored instead.
    current: the fingerprints of all concepts. pull: take what DVC's cache lacks from the default remote.
    """
    before, settled, drawn = fingerprints.report_fingerprints(current), list[str](), list[str]()
    changed = set(fingerprints.changed(before))
    for concept in settings.concepts:
        if (name := f"page@{concept}") not in changed or None in repository.snapshot(repo, name).values():
            continue
        if not repository.why(repo, name):
            settled.append(name)
            continue
        drawn.append(name)
        if not repository.restore(repo, name, pull):
            with repository.recording(repo, name):
                write_page(concept, settings)
    if fingerprints.REPORT in changed:
        artifacts.CARDS.mkdir(parents=True, exist_ok=True)  # DVC does not record a stage whose dependency is missing
        if not repository.why(repo, fingerprints.REPORT):
            settled.append(fingerprints.REPORT)
        else:
            drawn.append(fingerprints.REPORT)
            with repository.recording(repo, fingerprints.REPORT):
                write_index(settings)
    fingerprints.remember({name: before[name] for name in settled})
    if drawn:
        repo.flush()  # a fingerprint has what dvc.lock has
        after = fingerprints.report_fingerprints(current, {name: before[name] for name in before.keys() - set(drawn)})
        fingerprints.remember({name: after[name] for name in {*drawn, fingerprints.REPORT} if not repository.why(repo, name)})
