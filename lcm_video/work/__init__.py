"""Work that renders keep: addressed by what it is, so that it can be gone on with, and is never mistaken.

sources = sources_of(board, scene)
key = shot_key(course, files=sources.hashes, facts=facts_of(board, scene))
with Store().shot(key, about) as work:
    for chunk in work.missing(chunks):
        ...
        sources.check()
        work.keep_frames(chunk, frames)
"""

from lcm_video.work.facts import facts_of
from lcm_video.work.keys import shot_key
from lcm_video.work.shot import ShotWork
from lcm_video.work.sources import Sources, sources_of
from lcm_video.work.store import LIMIT, Entry, Store, Swept

__all__ = ["LIMIT", "Entry", "ShotWork", "Sources", "Store", "Swept", "facts_of", "shot_key", "sources_of"]
