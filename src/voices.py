"""Make a data set of generated voices for few-shot voice matching.

Takes n=10 prompts=30 voice=formant|espeak|bark, and name=NAME or root=FOLDER.
Leaves input/<name>/<voice>/prompt-N.flac to learn from and input/<name>/<voice>.flac to recognise, for data=voices.
A stopped run resumes.
"""

from pathlib import Path

from tonestack import cli
from tonestack.base import workers
from tonestack.competition.demo import voice_set
from tonestack.competition.demo.voice_set import VoiceSet
from tonestack.config.call import Call


def run(call: Call, wanted: VoiceSet) -> Path:
    """Make the set; print the next command."""
    given = call.words.root
    root = Path(given).expanduser() if given else call.home / "input" / (call.words.name or "voices")
    made = voice_set.make(root, wanted, call.words.jobs or workers.cores())
    print(f"{root}: {made.n} voices ({made.voice}), {made.prompts} clips each to learn from and one to recognise")
    print(f"  ./run.sh all data=voices root={root} name={call.words.name or root.name}")
    return root


if __name__ == "__main__":
    cli.main(run, __doc__, own=VoiceSet)
