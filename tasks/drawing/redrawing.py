"""Draw those parts of the report that show something else than before."""

from tasks import artifacts
from tasks.drawing.index import write_index
from tasks.drawing.page import write_page
from tasks.pipeline import fingerprints, repository
from tasks.settings import Settings


def redraw(repo: repository.CatalogRepo, settings: Settings, pull: bool = False) -> None:
    """Draw and record the pages of the concepts that have changed, and then the index; a concept that is not built has no page.

    A page that was drawn of the same results before is restored instead. pull: take what DVC's cache lacks from the default remote.
    """
    before, settled = fingerprints.report_fingerprints(fingerprints.fingerprints_of(list(settings.concepts))), []
    changed = set(fingerprints.changed(before))
    for concept in settings.concepts:
        if (name := f"page@{concept}") not in changed or None in repository.snapshot(repo, name).values():
            continue
        if not repository.why(repo, name):
            settled.append(name)
        elif not repository.restore(repo, name, pull):
            with repository.recording(repo, name):
                write_page(concept, settings)
    if fingerprints.REPORT in changed:
        artifacts.CARDS.mkdir(parents=True, exist_ok=True)  # DVC does not record a stage whose dependency is missing
        if not repository.why(repo, fingerprints.REPORT):
            settled.append(fingerprints.REPORT)
        else:
            with repository.recording(repo, fingerprints.REPORT):
                write_index(settings)
    fingerprints.remember({name: before[name] for name in settled})
