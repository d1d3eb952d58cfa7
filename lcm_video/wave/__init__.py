"""The executor of one shot: finished frames leave while later ones are still noise, whatever the shot's length.

Only a few windows see a frame, and only a few windows see those frames: so the last step of frame 0 needs the first
step of the first fifty frames or so, not of all. A wave runs over (step, window) and computes, for each stretch of
frames, what they need and nothing else; what no later window needs is dropped. Its result is bit for bit that of
`windows.windowed` and a sampler over the whole shot, which is the plain way that it is tested against (`Take.steps`).

    wave = pipeline.wave(board, shot)                # or chunks=[range(32, 48)], live=what wave.live() gave before
    for turn in wave:                                # some frames took one step
        if turn.finished is not None:                # the latents of the chunk turn.stretch
            ...

take    a shot with its loaded parts: what is sampled     known   what a wave has computed so far, and `Live`
layout  the windows of one step, by call and by frame     demand  what is still owed, and what can be dropped
running `Wave` and `Turn`                               rounds  a shot that is drawn several times
"""

from lcm_video.wave.known import Live
from lcm_video.wave.rounds import again
from lcm_video.wave.running import Turn, Wave, breadth
from lcm_video.wave.take import Take

__all__ = ["Live", "Take", "Turn", "Wave", "again", "breadth"]
