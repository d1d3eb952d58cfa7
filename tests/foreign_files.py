"""What every importer must do with any file: a storyboard that passes the check, or an error that says why not."""

from lcm_video.errors import StoryboardError
from lcm_video.importers.document import document
from lcm_video.importers.writing import to_yaml
from lcm_video.reader import load_text


def converted(importer, text, *, faithful):
    """What ``importer`` makes of ``text``; nothing where it is not one of its files, or a typed error says why not."""
    found = document(text, name="x")
    if not importer.recognises(found):
        return None
    try:
        return importer.convert(found, faithful=faithful)
    except StoryboardError:
        return None


def survives(importer, text, *, faithful):
    """What is imported is a storyboard."""
    if result := converted(importer, text, faithful=faithful):
        load_text(to_yaml(result), name="x")
