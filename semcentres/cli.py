"""The command `semcentres`: a verb, then `key=value` words in Hydra's form.

Nothing heavy is imported before it is needed: the help answers at once.
"""

import faulthandler
import logging
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from difflib import get_close_matches
from tempfile import TemporaryDirectory
from typing import Any

HELP = """\
semcentres: image encoders trained toward fixed centres made from class names

  semcentres centres   names to unit vectors: geometry, safe temperature, a bank file
  semcentres data check   images in files: counts, unreadable, duplicates, names, sizes
  semcentres train     train an encoder toward the centres, then evaluate it
  semcentres compare   train several choices with equal steps and seeds; one table, one figure
  semcentres evaluate  evaluate a trained run: retrieval, kNN, nearest centre, pictures
  semcentres robustness   accuracy under attack, and radii that are certified
  semcentres predict   classes of images: confidence, runner-up, none of these
  semcentres embed     write embeddings of files or of a split; goes on where it was stopped
  semcentres index     embeddings to an index that can be searched, its recall measured
  semcentres retrieve  retrieval and kNN among labelled embeddings, by one process or several
  semcentres search    the images nearest to a text, a class or an image
  semcentres export    the model as ONNX, torch.export, TorchScript, or a folder for the hub
  semcentres serve     a web page to search images by text, class or image
  semcentres doctor    versions, devices and paths

Words are key=value, in Hydra's form:
  semcentres centres centres=sentence 'names=[cat,dog,zebra]' out=animals.safetensors
  semcentres train centres=word2vec data=fashion_mnist data.labels_per_class=10
  semcentres compare centres=one_hot,word2vec seed=0,1,2 out=runs/compare
  semcentres centres bank=animals.safetensors add=[lion] out=more.safetensors
  semcentres centres audit=true centres=sentence names_file=classes.csv
  semcentres data check data=folder data.root=~/pictures
  semcentres train data=folder data.root=~/pictures run_dir=runs/mine
  semcentres evaluate run_dir=runs/mine
  semcentres robustness run_dir=runs/mine num_images=200
  semcentres predict run_dir=runs/mine images=~/new out=predictions.csv
  semcentres embed run_dir=runs/mine images=~/more out=more/embeddings
  semcentres index embeddings=more/embeddings out=more/index
  semcentres retrieve embeddings=more/embeddings out=more/retrieval.json
  semcentres search run_dir=runs/mine among=more/index text="striped animal" report=found.png
  semcentres export run_dir=runs/mine format=onnx out=bundle
  semcentres serve model=runs/mine port=8000

  semcentres VERB --help   the verb's groups, their options and all keys with their values
"""


TOGETHER = ("train", "embed", "retrieve")  # that the processes of torchrun do together
MANY = ("-m", "--multirun")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code.

    0 done; 2 bad configuration or usage; 3 bad input; 4 numeric failure; 5 a disk that is full or
    fails; 6 another process of the training failed, died or hung; 75 out of time, 130 and 143
    stopped by a signal, all three after saving.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(HELP)
        return 0
    if words[:2] == ["data", "check"]:
        words = words[1:]
    verb, *rest = words
    if verb == "--version":
        from importlib.metadata import version

        sys.stdout.write(f"semcentres {version('semcentres')}\n")
        return 0
    return guarded(lambda: _run(verb, rest), words)


def guarded(work: Callable[[], Any], words: Sequence[str], command: str = "semcentres") -> int:
    """Turn what a user can mend into one line on standard error and an exit code.

    Args:
        work: what is done.
        words: of the command line, with which it goes on where it was stopped.
        command: before them.
    """
    from centre_builders.errors import InputError
    from semcentres.interrupt import Stopped, signum_of, terminable

    try:
        # Of several processes, the watchdog sees to the end.
        with nullcontext() if _several() else terminable():
            work()
    except InputError as error:
        return _complain(str(error), error.exit_code)
    except Stopped as error:
        # Begun anew, it would lose what was saved.
        again = shlex.join(word for word in words if not word.startswith("restart="))
        return _complain(f"{error}; go on with: {command} {again}", error.exit_code, for_all=True)
    except KeyboardInterrupt as error:
        signum = signum_of(error)
        told = f"stopped by {signum.name}; again: {command} {shlex.join(words)}"
        return _complain(told, 128 + signum, for_all=True)
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        name = error.filename or "a file"
        named = FileNotFoundError | NotADirectoryError | IsADirectoryError | FileExistsError
        code = 3 if isinstance(error, named) else 5
        return _complain(f"{name}: {error.strerror}; mend that and run again", code)
    return 0


def _complain(message: str, code: int, *, for_all: bool = False) -> int:
    """Say what ends this process; what ends all, the first one says for them."""
    rank = os.environ["RANK"] if _several() else ""
    if not for_all or rank in ("", "0"):
        who = f"semcentres: rank {rank}" if rank else "semcentres"
        sys.stderr.write(f"{who}: {' '.join(message.split())}\n")
    if rank:
        # A connection that another process has broken may hold up the interpreter's end.
        faulthandler.dump_traceback_later(10, exit=True)
    return code


def _several() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("WORLD_SIZE") != "1"


def _run(verb: str, words: list[str]) -> None:
    from centre_builders.errors import UsageError
    from semcentres import show
    from semcentres.ranks import launched

    rank, count = launched()
    if count > 1 and (verb not in TOGETHER or set(MANY) & set(words)):
        raise UsageError(
            f"torchrun started {count} processes, and only one {' or '.join(TOGETHER)} uses several"
        )
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("semcentres").setLevel(logging.WARNING if rank else logging.INFO)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    if verb == "doctor":
        if words:
            raise UsageError(f"doctor takes no words, such as {words[0]}")
        show.doctor()
        return
    from semcentres.settings import SCHEMAS

    if verb not in (*SCHEMAS, "compare"):
        known = ["data check" if name == "check" else name for name in SCHEMAS]
        known += ["compare", "doctor"]
        near = get_close_matches(" ".join([verb, *words][: 1 + (verb == "data")]), known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"no verb {verb!r}{hint}; there are {', '.join(known)}")
    if {"-h", "--help"} & set(words):
        # A comparison takes the words of train.
        from semcentres.keys import help_of

        sys.stdout.write(help_of("train" if verb == "compare" else verb))
    elif verb == "compare":
        from semcentres.comparing import compare

        show.compare(compare(words))
    elif set(MANY) & set(words):
        _sweep(verb, words)
    else:
        _call(verb, words)


def _call(verb: str, words: Sequence[str]) -> None:
    """Compose, do the verb and show what came of it."""
    from semcentres import show, verbs
    from semcentres.compose import compose_settings
    from semcentres.ranks import launched

    result = getattr(verbs, verb)(compose_settings(verb, words))
    if launched()[0] == 0:
        getattr(show, verb)(result)


def _sweep(verb: str, words: Sequence[str]) -> None:
    """Hand a sweep to Hydra, whose sweepers and launchers know how to run many jobs."""
    from semcentres.compose import check_words, config_folder, register_schemas, to_settings

    check_words(words)
    import hydra
    from omegaconf import DictConfig

    from semcentres import show, verbs
    from semcentres.interrupt import Stopped

    register_schemas()

    @hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=verb)
    def job(config: DictConfig) -> None:
        try:
            getattr(show, verb)(getattr(verbs, verb)(to_settings(config)))
        except Stopped as error:
            raise _SweepStopped(error) from error

    os.environ["HYDRA_FULL_ERROR"] = "1"  # else it prints a traceback and leaves with its own code
    with TemporaryDirectory() as elsewhere:  # for its notes; the jobs run in this folder
        quiet = ["hydra.output_subdir=null", f"hydra.sweep.dir={elsewhere}", "hydra.sweep.subdir=."]
        # What the user says comes last and holds; argparse wants all flags before it.
        asked = [word for word in words if word not in MANY]
        sys.argv = [f"semcentres {verb}", MANY[0], *quiet, *asked]
        try:
            job()
        except _SweepStopped as error:
            raise error.args[0] from None


class _SweepStopped(BaseException):
    """A job was stopped: after an Exception, Hydra would begin the next one."""


if __name__ == "__main__":
    sys.exit(main())
